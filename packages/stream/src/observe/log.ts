/** What this project asks of a logger; pino's loggers are one. Never given stanzas, SASL bytes or credentials. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
