/** What the new-job page is given. */
import type { RowType } from "../../../src/contract/spec.ts";
import type { Tried } from "../../../src/graders/training.ts";
import type { Fit } from "../../../src/training/plan/fits.ts";
import type { JobForm } from "./form.ts";
import type { PlanView } from "./plan.tsx";

interface DataChoice {
  id: string;
  name: string;
  status: string;
  trainRows: number;
  /** Null while the data is being validated. */
  rowType: RowType | null;
}

/** A fine-tuned model that a run may continue from. */
interface TunedChoice {
  id: string;
  base: string;
}

interface BaseChoice {
  id: string;
  name: string;
  status: "available" | "installing" | "ready" | "failed";
  parameters: number | null;
  contextLength: number | null;
  license: string;
  /** The license was accepted, or needs no acceptance. */
  accepted: boolean;
  /** What its install downloads, about; null when it downloads nothing. */
  downloadBytes: number | null;
  fit: Fit | null;
}

export interface NewJobProps {
  admin: boolean;
  form: JobForm;
  datasets: DataChoice[];
  bases: BaseChoice[];
  tuned: TunedChoice[];
  plan: PlanView | null;
  /** Fields of the first prompt row, for graders; null for other row types. */
  item: Record<string, unknown> | null;
  /** Result of the grader for the sample answer. */
  tried: Tried | null;
  /** The same as JSON, for a hidden field of the form. */
  outcome: string;
  /** Message by field name; `` for the whole form. */
  problems: Record<string, string>;
  /** Name of the job that the form was copied from. */
  from: string | null;
}

/** The row type of the chosen data; null while unknown. */
export const rowTypeOf = ({ datasets, form }: NewJobProps): RowType | null =>
  datasets.find((one) => one.id === form.data && one.status === "ready")?.rowType ?? null;
