-- Rows that were copied from an earlier version may have broken text, which is repaired after the migrations.
DROP TRIGGER `meter_interval_update`;--> statement-breakpoint
CREATE TRIGGER `meter_interval_update` BEFORE UPDATE ON `meter_interval`
WHEN (OLD.statement_id IS NOT NULL AND NEW.statement_id IS NOT OLD.statement_id) OR NEW.n <> OLD.n OR NEW.source <> OLD.source
  OR NEW.org <> OLD.org OR NEW.quantity <> OLD.quantity OR NEW.free <> OLD.free OR NEW.micros <> OLD.micros
  OR NEW.unit_micros <> OLD.unit_micros OR NEW.from_ms <> OLD.from_ms OR NEW.to_ms <> OLD.to_ms OR NEW.meter <> OLD.meter
  OR NEW.kind <> OLD.kind OR NEW.reverses IS NOT OLD.reverses OR NEW.at <> OLD.at
  OR (NEW.model IS NOT OLD.model AND NEW.model IS NOT 'erased' AND OLD.statement_id IS NOT 'legacy')
BEGIN SELECT RAISE(ABORT, 'rows of meter_interval are never changed'); END;
