import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { Probes, Verdict } from './health.ts';

export interface HttpServer {
  readonly address: AddressInfo;
  close(): Promise<void>;
}

/** What `/metrics` answers: a registry, or something that speaks for several. */
export type MetricsPage = Pick<Registry, 'contentType' | 'metrics'>;

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: MetricsPage;
  readonly probes: Probes;
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const TEXT = 'text/plain; charset=utf-8';
/** 8 KiB: a scraper's headers take a tenth of it. */
const MAX_HEADER_BYTES = 8 * 1024;
/** 64: probes and a few scrapers. */
const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 10_000;

const INDEX = `XMPP-Grid (RFC 8600)

/metrics   Prometheus metrics
/startupz  200 once the instance has started
/readyz    200 while new streams are welcome
/livez     200 while the event loop turns
`;

/**
 * Serves metrics and probes. No authentication, no state changes, nothing but GET and HEAD.
 *
 * @throws Error of `listen`, such as EADDRINUSE
 */
export async function serveHttp(options: HttpOptions): Promise<HttpServer> {
  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
    (request, response) => {
      handle(request, response, options).catch((error: unknown) => {
        // A metric's collect() failed: a bug, shown to whoever scrapes.
        if (response.headersSent) response.destroy();
        else send(request, response, { status: 500, type: TEXT, body: `${String(error)}\n` });
      });
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.keepAliveTimeout = REQUEST_TIMEOUT_MS;
  await listen(server, options);
  return {
    address: server.address() as AddressInfo,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), 500);
      await closed;
      clearTimeout(timer);
    },
  };
}

function listen(server: Server, { host, port }: HttpOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function handle(request: IncomingMessage, response: ServerResponse, options: HttpOptions): Promise<void> {
  request.resume(); // a body is read and dropped
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD'); // RFC 9110 §15.5.6
    send(request, response, { status: 405, type: TEXT, body: 'only GET and HEAD\n' });
    return;
  }
  send(request, response, await pageFor((request.url ?? '/').split('?', 1)[0]!, options));
}

async function pageFor(path: string, { metrics, probes }: HttpOptions): Promise<Page> {
  switch (path) {
    case '/':
      return { status: 200, type: TEXT, body: INDEX };
    case '/metrics':
      return { status: 200, type: metrics.contentType, body: await metrics.metrics() };
    case '/startupz':
      return probe(probes.started());
    case '/readyz':
      return probe(probes.ready());
    case '/livez':
      return probe(probes.alive());
    default:
      return { status: 404, type: TEXT, body: 'not here; see /\n' };
  }
}

function probe({ ok, reasons }: Verdict): Page {
  return { status: ok ? 200 : 503, type: TEXT, body: ok ? 'ok\n' : `${reasons.join('\n')}\n` };
}

function send(request: IncomingMessage, response: ServerResponse, page: Page): void {
  response.writeHead(page.status, {
    'Content-Type': page.type,
    'Content-Length': Buffer.byteLength(page.body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(request.method === 'HEAD' ? undefined : page.body);
}
