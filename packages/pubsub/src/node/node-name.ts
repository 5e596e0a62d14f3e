/** Names of topics and items: opaque, compared exactly (XEP-0060 §4.6.2), bounded in bytes of UTF-8. */

/** As long as a resourcepart may be, so that every name could also be one (XEP-0060 §4.6; RFC 7622 §3.4). */
export const MAX_NODE_BYTES = 1023;
/** Four times a UUID in words would do; longer ones only cost storage at every event. */
export const MAX_ITEM_ID_BYTES = 512;

const fits = (text: string, maxBytes: number): boolean =>
  text.length > 0 && text.length <= maxBytes && Buffer.byteLength(text) <= maxBytes;

/** No topic has a name for which this is false. */
export const isNodeName = (text: string): boolean => fits(text, MAX_NODE_BYTES);
/** No item has an id for which this is false. */
export const isItemId = (text: string): boolean => fits(text, MAX_ITEM_ID_BYTES);
