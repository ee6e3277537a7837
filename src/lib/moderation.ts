/** The categories of OpenAI's moderation API. */
export const MODERATION_CATEGORIES = [
  ...(["harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"] as const),
  ...(["self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors"] as const),
  ...(["violence", "violence/graphic"] as const),
] as const;
export type ModerationCategory = (typeof MODERATION_CATEGORIES)[number];
