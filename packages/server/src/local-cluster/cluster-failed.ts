/** The local cluster cannot be started; the message, of several lines, says what to do or has a part's last words. */
export class ClusterFailed extends Error {
  override readonly name = 'ClusterFailed';
}
