/** Statements as PDF, with the fonts inside, so that they look the same everywhere. Needs no network and no browser. */
import { readFileSync } from "node:fs";
import plainFont from "dejavu-fonts-ttf/ttf/DejaVuSans.ttf" with { type: "file" };
import boldFont from "dejavu-fonts-ttf/ttf/DejaVuSans-Bold.ttf" with { type: "file" };
import { formatDate } from "../../lib/text/format.ts";
import { dollars, quantityText, unitPriceText } from "../meters/money.ts";
import type { Detail } from "./service.ts";

const LEFT = 50;
const RIGHT = 545;
const BOTTOM = 770;
/** Right edges of quantity, unit price and amount; the description is at the left. */
const COLUMNS = [350, 450, RIGHT] as const;

const STATE_WORDS: Record<string, string> = {
  final: "Charged back internally. Nothing is to be paid.",
  closing: "Being sent.",
  open: "To be paid.",
  paid: "Paid.",
  past_due: "Overdue.",
  void: "Void.",
  uncollectible: "Given up.",
  failed: "Kept back.",
};

const dayOf = (at: number | null) => (at === null ? "" : formatDate(at * 1000));
const usd = (amount: number) => dollars(Math.round(amount * 100));

/** @param legalText shown at the end; may be empty */
export async function statementPdf({ view, team }: Detail, legalText: string): Promise<Uint8Array> {
  // Loaded at the first use: it keeps the library out of the start of the server.
  const { default: PDFDocument } = await import("pdfkit");
  const fonts = { plain: readFileSync(plainFont), bold: readFileSync(boldFont) };
  const document = new PDFDocument({
    size: "A4",
    margin: LEFT,
    font: fonts.plain as never,
    info: { Title: `Statement ${view.number}`, CreationDate: new Date(view.closed_at * 1000) },
  });
  const chunks: Uint8Array[] = [];
  const ended = new Promise<void>((resolve) => document.on("end", resolve));
  document.on("data", (chunk: Uint8Array) => chunks.push(chunk));
  document.registerFont("plain", fonts.plain).registerFont("bold", fonts.bold);

  const text = (words: string, size = 9, font: "plain" | "bold" = "plain") =>
    document.font(font, size).text(words, LEFT, document.y, { width: RIGHT - LEFT });
  /** One row of the table; a description that is too long goes into a second line. */
  const row = (cells: [string, string, string, string], font: "plain" | "bold" = "plain") => {
    document.font(font, 9);
    const height = document.heightOfString(cells[0] || " ", { width: 230 });
    if (document.y + height > BOTTOM) document.addPage();
    const y = document.y;
    for (const [n, edge] of COLUMNS.entries())
      document.text(cells[n + 1] ?? "", edge - 100, y, { width: 100, align: "right", lineBreak: false });
    document.text(cells[0], LEFT, y, { width: 230 });
    document.y = y + height + 5;
  };
  const rule = () => {
    document.moveTo(LEFT, document.y).lineTo(RIGHT, document.y).lineWidth(0.5).stroke("#888");
    document.y += 6;
  };

  text(view.mode === "stripe" ? "Invoice" : "Statement", 20, "bold");
  document.y += 8;
  text(`${view.number} for ${view.month}`, 11, "bold");
  text(`${team} (${view.organization})`);
  text(`Closed ${dayOf(view.closed_at)}${view.due_at ? `, due ${dayOf(view.due_at)}` : ""}`);
  text(STATE_WORDS[view.state] ?? view.state);
  document.y += 14;
  row(["What", "Quantity", "Unit price", "Amount"], "bold");
  rule();
  for (const line of view.lines)
    row([
      line.description,
      line.quantity === null ? "" : quantityText(line.quantity),
      unitPriceText(line.unit_price_usd),
      usd(line.amount_usd),
    ]);
  rule();
  row(["Subtotal", "", "", usd(view.subtotal_usd)]);
  if (view.credits_usd) row(["Credits", "", "", usd(-view.credits_usd)]);
  if (view.tax_usd) row(["Tax", "", "", usd(view.tax_usd)]);
  row(["Total, US dollars", "", "", usd(view.total_usd)], "bold");
  if (view.credit_notes.length > 0) {
    document.y += 10;
    row(["Credit notes after the closing", "", "", ""], "bold");
    rule();
    for (const note of view.credit_notes)
      row([
        `${note.kind === "refund" ? "Refund" : "Credit"}: ${note.reason.replaceAll("_", " ")}${note.note ? `. ${note.note}` : ""}`,
        dayOf(note.created_at),
        note.state === "done" ? "" : note.state,
        usd(-note.amount_usd),
      ]);
  }
  if (legalText) {
    document.y += 16;
    text(legalText, 8);
  }
  document.end();
  await ended;
  return Buffer.concat(chunks);
}
