/** Runs work of one name one after the other, and work of different names side by side. */

export type InTurn = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/** A new set of names; each is forgotten once nothing waits under it. */
export function createInTurn(): InTurn {
  const last = new Map<string, Promise<unknown>>();
  return (name, work) => {
    const mine = (last.get(name) ?? Promise.resolve()).catch(() => {}).then(work);
    last.set(name, mine);
    const forget = () => {
      if (last.get(name) === mine) last.delete(name);
    };
    mine.then(forget, forget);
    return mine;
  };
}
