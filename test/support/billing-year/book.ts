/** What the simulated year should cost, computed from its script alone: the ledger is compared with it. */
import { monthAt, monthRange } from "../../../src/billing/meters/months.ts";

/** Free input tokens of each team in a month, and what a token costs beyond them, in micro-dollars. */
export const FREE_INPUT = 1_000_000;
export const TOKEN_MICROS = { input: 2, output: 8 };

/** What a team should be charged for a month of use. */
interface Month {
  micros: number;
  input: number;
}

export function createBook() {
  const months = new Map<string, Month>();
  const credits = new Map<string, number>();
  const monthOf = (org: string, month: string): Month => {
    const name = `${org} ${month}`;
    const found = months.get(name) ?? { micros: 0, input: 0 };
    months.set(name, found);
    return found;
  };

  return {
    /** An amount at one time. */
    add(org: string, at: number, micros: number): void {
      monthOf(org, monthAt(at)).micros += micros;
    },
    /** Time that is charged by the second; both ends are whole seconds. @returns what it costs */
    addTime(org: string, from: number, to: number, microsPerS: number): number {
      let sum = 0;
      for (let at = from; at < to; ) {
        const end = Math.min(to, monthRange(monthAt(at)).to);
        const micros = ((end - at) / 1000) * microsPerS;
        monthOf(org, monthAt(at)).micros += micros;
        sum += micros;
        at = end;
      }
      return sum;
    },
    addTokens(org: string, at: number, input: number, output: number): void {
      const month = monthOf(org, monthAt(at));
      month.input += input;
      month.micros += output * TOKEN_MICROS.output;
    },
    addCredit(org: string, micros: number): void {
      credits.set(org, (credits.get(org) ?? 0) + micros);
    },
    /** Micro-dollars of what was used in a month, whenever it is billed. */
    microsOf(org: string, month: string): number {
      const { micros, input } = monthOf(org, month);
      return micros + Math.max(0, input - FREE_INPUT) * TOKEN_MICROS.input;
    },
    /** All credits that were given to a team, in micro-dollars. */
    creditsOf: (org: string): number => credits.get(org) ?? 0,
  };
}
export type Book = ReturnType<typeof createBook>;
