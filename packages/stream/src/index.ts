export * from './errors/sasl-failure.ts';
export * from './errors/stanza-error.ts';
export * from './errors/stream-error.ts';
export * from './xml/ns.ts';
export * from './jid.ts';
