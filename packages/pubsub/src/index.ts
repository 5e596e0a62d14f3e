export * from './access/decide.ts';
export * from './access/policy.ts';
export * from './broker.ts';
export * from './errors.ts';
export * from './metrics.ts';
export * from './node/node-config.ts';
export * from './store/topic-config.ts';
export type { BrokerLimits, BrokerLog } from './verbs/deps.ts';
