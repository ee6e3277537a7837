/** The icon set: thin 16-pixel line drawings, inline so that they take the text's color. */

const PATHS = {
  home: "M2.5 7 8 2.5 13.5 7v6.5h-4v-4h-3v4h-4z",
  data: "M8 6.5c3 0 5-.9 5-2s-2-2-5-2-5 .9-5 2 2 2 5 2ZM3 4.5v7c0 1.1 2 2 5 2s5-.9 5-2v-7M3 8c0 1.1 2 2 5 2s5-.9 5-2",
  jobs: "M2 8.5h2.5l2-5 3 9 2-4H14",
  models: "M8 2 13.5 5v6L8 14l-5.5-3V5zM2.7 5.1 8 8l5.3-2.9M8 8v6",
  chat: "M13.5 10.5a1 1 0 0 1-1 1H6L3 14v-2.5h-.0a1 1 0 0 1-.5-1v-7a1 1 0 0 1 1-1h9a1 1 0 0 1 1 1z",
  scale: "M8 2.5v11M5 13.5h6M3 4.5h10M3 4.5 1.5 9a2 2 0 0 0 3 0zM13 4.5 11.5 9a2 2 0 0 0 3 0z",
  deploy: "M8 10V2.5M5 5.5l3-3 3 3M2.5 10.5v3h11v-3",
  usage: "M2.5 13.5h11M4 11V8M8 11V3M12 11V6",
  hosts: "M4.5 4.5h7v7h-7zM6.5 2v2.5M9.5 2v2.5M6.5 11.5V14M9.5 11.5V14M2 6.5h2.5M2 9.5h2.5M11.5 6.5H14M11.5 9.5H14",
  settings:
    "M2 4.5h7M12.5 4.5H14M2 11.5h1.5M7 11.5h7M10.7 2.8a1.75 1.75 0 1 1 0 3.4 1.75 1.75 0 0 1 0-3.4ZM5.2 9.8a1.75 1.75 0 1 1 0 3.4 1.75 1.75 0 0 1 0-3.4Z",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.7 10.7 14 14",
  plus: "M8 3v10M3 8h10",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  check: "M3 8.5 6.5 12 13 4.5",
  x: "m4 4 8 8M12 4l-8 8",
  ok: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM5.5 8.2l1.8 1.8 3.2-3.7",
  failed: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM6 6l4 4M10 6l-4 4",
  warn: "M8 2.5 14.5 13.5h-13zM8 6.5v3M8 11.5v.1",
  info: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 7.5V11M8 5v.1",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.5V8l2.3 1.5",
  turning: "M14 8a6 6 0 1 1-3-5.2",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6L12.5 8z",
  stop: "M4 4h8v8H4z",
  cancelled: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM4 12l8-8",
  asleep: "M13 9.5A5.5 5.5 0 1 1 6.5 3 4.5 4.5 0 0 0 13 9.5Z",
  theme: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 2v12M8 5h3.5M8 8h6M8 11h3.5",
  right: "m6 3.5 4.5 4.5L6 12.5",
  left: "M10 3.5 5.5 8l4.5 4.5",
  down: "m3.5 6 4.5 4.5L12.5 6",
  up: "m3.5 10 4.5-4.5L12.5 10",
  download: "M8 2.5V10M5 7l3 3 3-3M2.5 13.5h11",
  upload: "M8 10V2.5M5 5.5l3-3 3 3M2.5 13.5h11",
  more: "M3.5 8h.1M8 8h.1M12.5 8h.1",
  user: "M8 8a2.7 2.7 0 1 0 0-5.4A2.7 2.7 0 0 0 8 8ZM3 13.5c.5-2.4 2.5-3.5 5-3.5s4.5 1.1 5 3.5",
  leave: "M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6",
  tool: "M9.5 6.5 3 13M10.5 2.5a3 3 0 0 0-1 5.5l.5.5a3 3 0 0 0 3.8-3.8L12 6.5 10 6 9.5 4l1.8-1.8z",
  file: "M4 2h5l3.5 3.5V14H4zM9 2v3.5h3.5",
  bell: "M12.5 11.5V7a4.5 4.5 0 0 0-9 0v4.5L2 13h12zM6.5 13.5a1.5 1.5 0 0 0 3 0",
  shield: "M8 2 13 4v4c0 3-2 5-5 6-3-1-5-3-5-6V4z",
  key: "M5.5 10.5a3 3 0 1 1 2.7-4.3H14v2.6h-1.7v1.7H9.7V9H8.2a3 3 0 0 1-2.7 1.5ZM5.4 7.5h.1",
  save: "M3 3h8l2 2v8H3zM5.5 3v3.5h4V3M5.5 13V9.5h5V13",
  repeat: "M3 7V6a2.5 2.5 0 0 1 2.5-2.5H13M11 1.5l2 2-2 2M13 9v1a2.5 2.5 0 0 1-2.5 2.5H3M5 14.5l-2-2 2-2",
  compare: "M5 2.5v11M2.5 5 5 2.5 7.5 5M11 13.5v-11M8.5 11l2.5 2.5 2.5-2.5",
} as const;

export type IconName = keyof typeof PATHS;

/** A decorative icon; the word beside it carries the meaning. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The logo: a falling loss curve. */
export function Mark() {
  return (
    <svg
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      stroke-width="2"
      stroke-linecap="round"
      aria-hidden="true"
    >
      <path d="M3 3v14h14" opacity="0.35" />
      <path d="M6 5c1 6 3.5 8 11 8.5" />
    </svg>
  );
}
