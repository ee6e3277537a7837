/** The HTTP request that asks for a response. */
export interface Asking {
  signal: AbortSignal;
  startedAt: number;
  requestId: string;
}
