package rig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

type keys struct{ authority []byte }

// certificates writes the keys of the control plane: its authority, the API's certificate, the key of tokens.
func certificates(folder string) (keys, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keys{}, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rig"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign,
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return keys{}, err
	}
	apiKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keys{}, err
	}
	api := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		DNSNames:    []string{"kubernetes.default.svc", "kubernetes", "localhost"},
		IPAddresses: []net.IP{net.ParseIP(APIHost), net.ParseIP(secondAPIHost), net.ParseIP(otherAPIHost), net.ParseIP("127.0.0.1"), net.ParseIP("10.97.0.1")},
	}
	for n := range maxUplinks {
		api.IPAddresses = append(api.IPAddresses, net.ParseIP(uplinkHost(n)))
	}
	apiDER, err := x509.CreateCertificate(rand.Reader, api, authority, &apiKey.PublicKey, authorityKey)
	if err != nil {
		return keys{}, err
	}
	tokenKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return keys{}, err
	}
	private := func(key crypto.PrivateKey) []byte {
		der, _ := x509.MarshalPKCS8PrivateKey(key)
		return block("PRIVATE KEY", der)
	}
	public, err := x509.MarshalPKIXPublicKey(&tokenKey.PublicKey)
	if err != nil {
		return keys{}, err
	}
	made := keys{authority: block("CERTIFICATE", authorityDER)}
	for name, text := range map[string][]byte{
		"ca.crt": made.authority, "api.crt": block("CERTIFICATE", apiDER), "api.key": private(apiKey),
		"sa.key": private(tokenKey), "sa.pub": block("PUBLIC KEY", public),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return keys{}, err
		}
	}
	return made, nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// selfSigned is a certificate for a TLS server that nobody checks.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rig echo"},
		NotAfter: time.Now().Add(240 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// withLife is a token of the API with another end, signed by the API's key.
func withLife(token string, life time.Duration) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("the token is no JWT")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		return "", err
	}
	now := time.Now()
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), now.Add(life).Unix()
	if text, err = json.Marshal(claims); err != nil {
		return "", err
	}
	key, err := os.ReadFile(dir + "/sa.key")
	if err != nil {
		return "", err
	}
	decoded, _ := pem.Decode(key)
	private, err := x509.ParsePKCS8PrivateKey(decoded.Bytes)
	if err != nil {
		return "", err
	}
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(text)
	sum := sha256.Sum256([]byte(signed))
	signature, err := private.(*rsa.PrivateKey).Sign(rand.Reader, sum[:], crypto.SHA256)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// kubeconfig is the text of a kubeconfig file with what the config knows.
func kubeconfig(of *rest.Config) []byte {
	text, _ := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"rig": {Server: of.Host, CertificateAuthorityData: of.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"rig": {Token: of.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{"rig": {Cluster: "rig", AuthInfo: "rig"}},
		CurrentContext: "rig",
	})
	return text
}

func mountBind(from, to string) error { return syscall.Mount(from, to, "", syscall.MS_BIND, "") }
