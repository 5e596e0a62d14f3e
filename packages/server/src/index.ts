export type { AdminOperations } from './admin/operations.ts';
export { AdminError } from './admin/operations.ts';
export type { Config } from './config.ts';
export { ConfigError, loadConfig } from './config-load.ts';
export type { RunningInstance } from './running-instance.ts';
