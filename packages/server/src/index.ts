export type { AdminOperations } from './admin/operations.ts';
export { AdminError } from './admin/operations.ts';
export type { Config } from './config.ts';
export { ConfigError, loadConfig } from './config-load.ts';
export { connectControl } from './control/client.ts';
export { startInstance } from './instance.ts';
export { startProgram } from './main.ts';
export { createLogger } from './observe/log.ts';
export type { RunningInstance } from './running-instance.ts';
