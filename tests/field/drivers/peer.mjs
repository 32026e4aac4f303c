// The client and the server of node's tls and https modules. Arguments and lines are those of peer.py; clients are `tls`
// and `https`.
import { readFileSync } from 'node:fs';
import https from 'node:https';
import tls from 'node:tls';
import { constants } from 'node:crypto';
import { createInterface } from 'node:readline';

const BODY = '0123456789abcdef0123456789abcdef01234567\trefs/heads/main\n';
const VERSIONS = { 12: 'TLSv1.2', 13: 'TLSv1.3' };
const TIMEOUT = 20_000;

function serve(cert, key, places) {
  let left = places.length;
  for (const place of places) {
    const [port, kind] = place.split(':');
    const version = VERSIONS[kind.slice(0, 2)];
    const options = { cert: readFileSync(cert), key: readFileSync(key), minVersion: version, maxVersion: version };
    if (kind[2] === 'n') options.secureOptions = constants.SSL_OP_NO_TICKET;
    const server = https.createServer(options, (request, response) => {
      const quiet = request.url.includes('quiet');
      const close = request.url.startsWith('/close') || request.headers.connection === 'close';
      response.setHeader('content-length', BODY.length);
      response.setHeader('connection', close ? 'close' : 'keep-alive');
      // destroy() closes without a close_notify.
      response.end(BODY, () => close && quiet && request.socket.destroy());
    });
    server.on('tlsClientError', () => {});
    server.listen(Number(port), '127.0.0.1', 128, () => --left || console.log('ready'));
  }
  process.stdin.resume().on('end', () => process.exit());
}

function callTls(ca, port, { name, path, session, notify, first }) {
  return new Promise((done, failed) => {
    let got = '';
    let kept;
    let ended = false;
    const stream = tls.connect({ host: name, port, servername: name, ca, session });
    const keep = first === 'server' ? 'close' : 'keep-alive';
    stream.setTimeout(TIMEOUT, () => stream.destroy(new Error('timeout')));
    stream.on('session', (value) => { kept = value; });
    stream.on('secureConnect', () => stream.write(`GET ${path} HTTP/1.1\r\nhost: ${name}\r\nconnection: ${keep}\r\n\r\n`));
    stream.on('data', (bytes) => {
      got += bytes;
      if (!got.includes(BODY) || ended) return;
      ended = true;
      if (first === 'client') {
        if (notify === 'yes') stream.end(); else stream.destroy();
      }
    });
    stream.on('error', (error) => { if (!ended) failed(error); });
    stream.on('close', () => (ended ? done(kept) : failed(new Error(`only ${JSON.stringify(got)}`))));
  });
}

function callHttps(ca, port, { name, path, first }) {
  return new Promise((done, failed) => {
    const agent = new https.Agent({ keepAlive: first === 'client', ca });
    const request = https.get({ host: name, port, path, agent, timeout: TIMEOUT }, (response) => {
      let got = '';
      response.on('data', (bytes) => { got += bytes; });
      response.on('end', () => {
        agent.destroy();
        if (got.includes(BODY)) done(); else failed(new Error(`only ${JSON.stringify(got)}`));
      });
    });
    request.on('timeout', () => request.destroy(new Error('timeout')));
    request.on('error', failed);
  });
}

async function serveCalls(call, ca, port) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, path, resume, notify, first, calls] = line.split(' ');
    let session;
    let count = 0;
    let problem = '';
    for (let n = 0; n < Number(calls); n += 1) {
      try {
        const kept = await call(ca, port, { name, path, session, notify, first });
        session = resume === 'yes' ? kept : undefined;
        count += 1;
      } catch (error) {
        problem = String(error);
      }
    }
    console.log(`${count} ${problem}`);
  }
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'serve') serve(rest[0], rest[1], rest.slice(2));
else await serveCalls({ tls: callTls, https: callHttps }[rest[0]], readFileSync(rest[1]), Number(rest[2]));
