/** Sets of numbers from 0 that can be joined, each with its size (union-find). */
export function createSets() {
  let parent = new Int32Array(1024);
  let sizes = new Int32Array(1024);
  let count = 0;
  function root(id: number): number {
    let at = id;
    while (parent[at] !== at) {
      parent[at] = parent[parent[at] ?? 0] ?? 0;
      at = parent[at] ?? 0;
    }
    return at;
  }
  return {
    root,
    /** Adds the next number as a set of its own. */
    add() {
      if (count === parent.length) {
        const [oldParent, oldSizes] = [parent, sizes];
        parent = new Int32Array(count * 2);
        sizes = new Int32Array(count * 2);
        parent.set(oldParent);
        sizes.set(oldSizes);
      }
      parent[count] = count;
      sizes[count++] = 1;
    },
    join(a: number, b: number) {
      const [first, second] = [root(a), root(b)];
      if (first === second) return;
      parent[second] = first;
      sizes[first] = (sizes[first] ?? 0) + (sizes[second] ?? 0);
    },
    /** Numbers in the set of `id`. */
    size: (id: number) => sizes[root(id)] ?? 0,
  };
}
