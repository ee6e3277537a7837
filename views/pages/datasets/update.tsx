/**
 * The response to a refresh of a dataset page. Everything that depends on the version's state is in it, so that no part
 * of the page contradicts another.
 */
import type { VNode } from "preact";
import { DatasetHistory, DownloadRows, MergeForm, ReadingLink } from "./history.tsx";
import { DatasetBadge, DatasetFindings, DatasetNext, type DatasetProps, DatasetState } from "./show.tsx";

/** The state with the other parts beside it, each replaced by its id. */
export function DatasetUpdate(props: DatasetProps): VNode {
  const parts: [id: string, part: VNode][] = [
    ["badge", <DatasetBadge {...props} />],
    ["next", <DatasetNext {...props} />],
    ["history", <DatasetHistory {...props} />],
    ["findings", <DatasetFindings {...props} />],
    ["download", <DownloadRows {...props} />],
    ["merge", <MergeForm {...props} />],
    ["reading", <ReadingLink {...props} />],
  ];
  return (
    <>
      <DatasetState {...props} />
      {parts.map(([id, part]) => (
        <hx-partial hx-target={`#${id}`} hx-swap="outerMorph">
          {part}
        </hx-partial>
      ))}
    </>
  );
}
