/** `/search`: pages, jobs, models and datasets by name; also the results of the command palette. */
import type { VNode } from "preact";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Icon, type IconName } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";

interface Hit {
  href: string;
  label: string;
  icon: IconName;
  sub?: string;
  state?: string;
  button?: { name: string; value: string };
}

/** A hit that does something instead of opening a page. */
function CommandButton({ hit, button }: { hit: Hit; button: { name: string; value: string } }) {
  return (
    <PostForm action={hit.href} data-theme-form={button.name === "theme" ? "" : undefined}>
      <button type="submit" name={button.name} value={button.value} class="hit">
        <Icon name={hit.icon} />
        {hit.label}
      </button>
    </PostForm>
  );
}

interface HitGroup {
  title: string;
  hits: Hit[];
}

export function SearchResults({ groups, query }: { groups: HitGroup[]; query: string }): VNode {
  const shown = groups.filter((group) => group.hits.length);
  return (
    <div id="search-results" class="results">
      {shown.length ? (
        shown.map((group) => (
          <section aria-label={group.title}>
            <h2>{group.title}</h2>
            {group.hits.map((hit) =>
              hit.button ? (
                <CommandButton hit={hit} button={hit.button} />
              ) : (
                <a href={hit.href}>
                  <Icon name={hit.icon} />
                  <span class="clip" dir="auto">
                    {hit.label}
                  </span>
                  {hit.sub ? <span class="xs muted clip end">{hit.sub}</span> : null}
                  {hit.state ? (
                    <span class={hit.sub ? undefined : "end"}>
                      <StateBadge state={hit.state} />
                    </span>
                  ) : null}
                </a>
              ),
            )}
          </section>
        ))
      ) : (
        <Empty icon="search" title={`No results for “${query}”`} slim>
          Try part of a name or an id.
        </Empty>
      )}
    </div>
  );
}

export function SearchPage(props: { groups: HitGroup[]; query: string }) {
  const { url } = usePage();
  return (
    <Layout title="Search">
      <div class="stack">
        <search>
          <form method="get" action={url.pathname} class="filters">
            <input
              type="search"
              name="q"
              value={props.query}
              data-page-search
              placeholder="Pages, jobs, models, datasets"
              aria-label="Search"
            />
            <button type="submit" class="button">
              Search
            </button>
          </form>
        </search>
        <div class="panel">
          <SearchResults {...props} />
        </div>
      </div>
    </Layout>
  );
}
