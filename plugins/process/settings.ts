/** The settings of the process provider, with defaults and bounds. */

export interface Settings {
  /** Bytes of output kept per process. */
  logBytes: number;
  /** Niceness of training, 0 to 19. */
  nice: number;
  /** Seconds a warm launcher waits for the next job; 0 = none. */
  warmS: number;
}

export interface SettingProblem {
  field: string;
  message: string;
  remedy: string;
}

/** Reads the configuration; each value out of bounds is a problem. */
export function readSettings(config: Record<string, unknown>): { settings: Settings; problems: SettingProblem[] } {
  const settings = {
    logBytes: Number(config.log_bytes ?? 8 * 1024 * 1024),
    nice: Number(config.nice ?? 5),
    warmS: Number(config.warm_s ?? 600),
  };
  const bounds = [
    ["log_bytes", settings.logBytes, 65_536, 2 ** 31],
    ["nice", settings.nice, 0, 19],
    ["warm_s", settings.warmS, 0, 86_400],
  ] as const;
  const problems = bounds
    .filter(([, value, min, max]) => !Number.isInteger(value) || value < min || value > max)
    .map(([field, value, min, max]) => ({
      field,
      message: `${field} is ${value}.`,
      remedy: `Set a whole number from ${min} to ${max}.`,
    }));
  return { settings, problems };
}
