/** Cluster slot of a key: CRC16 (XMODEM) of its hash tag, or of all of it, modulo 16,384 (Redis Cluster specification). */
export function slotOf(key: string): number {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  const bytes = Buffer.from(close > open + 1 ? key.slice(open + 1, close) : key);
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc % 16_384;
}

/**
 * Writes a name from outside for use between the braces of a key. Braces of its own would end the hash tag early: RFC 7622
 * allows them in a localpart. `%` too, so that no two names meet.
 */
export const hashTag = (name: string): string => name.replace(/[{}%]/g, encodeURIComponent);
