/** Runs work with the same name sequentially, and work with different names concurrently. */

export type InTurn = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/** A new set of names; a name is dropped when nothing waits for it. */
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
