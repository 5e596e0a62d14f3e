import { fork } from 'node:child_process';
import net from 'node:net';
import tls from 'node:tls';
import { createCertificateAuthority, issueServerCertificate, TlsContext } from '@xmpp-grid/auth';
import { Outbox } from '../../packages/stream/dist/transport/outbox.js';

if (process.argv[2] === 'client') {
  let n = 0;
  const port = +process.argv[3],
    count = +process.argv[4];
  for (let i = 0; i < count; i++) {
    const s = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    s.on('data', () => {});
    s.on('secureConnect', () => {
      if (++n === count) process.send('ready');
    });
    s.on('error', () => {});
  }
} else {
  const v = { nowMs: Date.now(), days: 1 };
  const ca = await createCertificateAuthority('x', v);
  const c = await issueServerCertificate(ca, { ...v, domains: ['localhost'] });
  const mode = process.argv[2];
  const sockets = [];
  const opts = mode.includes('ctx')
    ? new TlsContext({ certificate: c.certificate, key: c.key }).options()
    : { cert: c.certificate, key: c.key, minVersion: 'TLSv1.3' };
  const ts = tls.createServer(opts);
  ts.on('secureConnection', (s) => {
    s.on('error', () => {});
    s.resume();
    sockets.push(s);
  });
  let port;
  if (mode.includes('emit')) {
    const n = net.createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60000 }, (s) => ts.emit('connection', s));
    await new Promise((r) => n.listen(0, '127.0.0.1', r));
    port = n.address().port;
  } else {
    await new Promise((r) => ts.listen(0, '127.0.0.1', r));
    port = ts.address().port;
    ts.on('secureConnection', (s) => s.setNoDelay(true));
  }
  const ch = [0, 1].map(() => fork(process.argv[1], ['client', port, 500]));
  await Promise.all(ch.map((c) => new Promise((r) => c.on('message', r))));
  await new Promise((r) => setTimeout(r, 300));
  const body = Buffer.alloc(1388, 'x');
  const boxes = mode.includes('box') ? sockets.map((s) => new Outbox(s, () => {})) : undefined;
  const round = () => {
    if (boxes) for (const b of boxes) b.push2(body.subarray(0, 60), body.subarray(60));
    else for (const s of sockets) s.write(body);
  };
  for (let i = 0; i < 20; i++) {
    round();
    await new Promise((r) => setTimeout(r, 60));
  }
  const a = process.cpuUsage();
  const N = 80;
  for (let i = 0; i < N; i++) {
    round();
    await new Promise((r) => setTimeout(r, 60));
  }
  const d = process.cpuUsage(a);
  console.log(mode, ((d.user + d.system) / N / sockets.length).toFixed(2), 'us/write', sockets[0].getCipher().name);
  for (const c of ch) c.kill();
  process.exit(0);
}
