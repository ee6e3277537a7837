/** Sorting by several numbers. */

/** A sorted copy: by the first number of their ranks in which two items differ, smallest first. */
export const sortedBy = <T>(items: readonly T[], rankOf: (item: T) => readonly number[]): T[] =>
  items
    .map((item) => ({ item, rank: rankOf(item) }))
    .sort((a, b) => {
      for (const [i, value] of a.rank.entries()) {
        const other = b.rank[i] ?? 0;
        if (value !== other) return value < other ? -1 : 1;
      }
      return 0;
    })
    .map(({ item }) => item);
