/** Which part of the housekeeping is this instance's (delivery.md §7.4). */
export interface HousekeepingShare {
  /** Whether a topic is in its share: the same answer for the same topic while the same instances live. */
  owns(node: string): boolean;
  /** Whether an instance lives, or may. Watermarks of those that do are kept (delivery.md §5.3). */
  isLive(instanceId: string): boolean;
}
