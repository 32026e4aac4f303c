// The client and the server of Java's SSLSocket. Arguments and lines are those of peer.py.
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

class Peer {
    static final String BODY = "0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n";
    static final int TIMEOUT = 20_000;
    static final char[] NO_PASSWORD = {};

    static Certificate certificate(String file) throws Exception {
        byte[] pem = Files.readAllBytes(Path.of(file));
        return CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(pem));
    }

    static SSLContext server(String certificate, String key) throws Exception {
        String pem = Files.readString(Path.of(key)).replaceAll("-----[A-Z ]+-----|\\s", "");
        var secret = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("server", secret, NO_PASSWORD, new Certificate[] {certificate(certificate)});
        var keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, NO_PASSWORD);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        return context;
    }

    static SSLContext client(String ca) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setCertificateEntry("ca", certificate(ca));
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    static String read(InputStream from, String end) throws IOException {
        var got = new ByteArrayOutputStream();
        byte[] part = new byte[4096];
        while (!got.toString(StandardCharsets.UTF_8).contains(end)) {
            int n = from.read(part);
            if (n < 0) {
                throw new IOException("only " + got);
            }
            got.write(part, 0, n);
        }
        return got.toString(StandardCharsets.UTF_8);
    }

    static void answer(SSLContext context, Socket raw, String version) {
        try (raw) {
            raw.setSoTimeout(TIMEOUT);
            var stream = (SSLSocket) context.getSocketFactory().createSocket(raw, null, raw.getPort(), false);
            stream.setUseClientMode(false);
            stream.setEnabledProtocols(new String[] {version});
            String request = read(stream.getInputStream(), "\r\n\r\n");
            boolean close = request.toLowerCase().contains("connection: close");
            String head = "HTTP/1.1 200 OK\r\nContent-Length: " + BODY.length() + "\r\nConnection: "
                + (close ? "close" : "keep-alive") + "\r\n\r\n";
            stream.getOutputStream().write((head + BODY).getBytes(StandardCharsets.UTF_8));
            if (!close && stream.getInputStream().read() >= 0) {
                return;
            }
            if (!request.contains("quiet")) {
                stream.close();
            }
        } catch (IOException error) {
            // The client has gone.
        }
    }

    static void serve(String[] args) throws Exception {
        SSLContext context = server(args[1], args[2]);
        for (int n = 3; n < args.length; n++) {
            String[] place = args[n].split(":");
            String version = place[1].startsWith("13") ? "TLSv1.3" : "TLSv1.2";
            var listener = new ServerSocket(Integer.parseInt(place[0]), 128, InetAddress.getByName("127.0.0.1"));
            new Thread(() -> {
                while (true) {
                    try {
                        Socket raw = listener.accept();
                        new Thread(() -> answer(context, raw, version)).start();
                    } catch (IOException error) {
                        throw new RuntimeException(error);
                    }
                }
            }).start();
        }
        System.in.read();
        System.exit(0);
    }

    static void call(SSLContext context, int port, String[] line) throws IOException {
        String name = line[0], path = line[1];
        boolean notify = line[3].equals("yes"), serverFirst = line[4].equals("server");
        try (Socket raw = new Socket(name, port)) {
            raw.setSoTimeout(TIMEOUT);
            var stream = (SSLSocket) context.getSocketFactory().createSocket(raw, name, port, false);
            SSLParameters parameters = stream.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            stream.setSSLParameters(parameters);
            String request = "GET " + path + " HTTP/1.1\r\nHost: " + name + "\r\nConnection: "
                + (serverFirst ? "close" : "keep-alive") + "\r\n\r\n";
            stream.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            read(stream.getInputStream(), BODY);
            try {
                if (serverFirst && stream.getInputStream().read() >= 0) {
                    throw new IllegalStateException("more than the answer");
                }
                if (notify) {
                    stream.close();
                }
            } catch (IOException error) {
                // A close without a close_notify, after the answer.
            }
        }
    }

    static void calls(String[] args) throws Exception {
        int port = Integer.parseInt(args[3]);
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String text = lines.readLine(); text != null; text = lines.readLine()) {
            String[] line = text.split(" ");
            SSLContext context = client(args[2]);
            int done = 0;
            String problem = "";
            for (int n = 0; n < Integer.parseInt(line[5]); n++) {
                try {
                    call(line[2].equals("yes") ? context : client(args[2]), port, line);
                    done++;
                } catch (IOException error) {
                    problem = error.toString().replace('\n', ' ');
                }
            }
            System.out.println(done + " " + problem);
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("serve")) {
            serve(args);
        } else {
            calls(args);
        }
    }
}
