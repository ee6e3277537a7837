ALTER TABLE `job` ADD `stays_local` integer DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX `job_stays` ON `job` (`stays_local`) WHERE "stays_local" = 1;--> statement-breakpoint
ALTER TABLE `base_model` ADD `stays_local` integer DEFAULT false NOT NULL;--> statement-breakpoint
WITH RECURSIVE origin(child, parent) AS MATERIALIZED (
	SELECT j.id, a.job_id FROM job j JOIN artifact a ON a.id = json_extract(j.spec, '$.start.artifact_id') WHERE j.kind = 'train'
	UNION ALL SELECT id, json_extract(metadata, '$.continues') FROM job WHERE kind = 'train' AND json_extract(metadata, '$.continues') IS NOT NULL
	UNION ALL SELECT j.id, c.job_id FROM base_model b JOIN checkpoint c ON c.id = b.revision JOIN job j ON json_extract(j.spec, '$.base_model.id') = b.id AND j.kind = 'train' WHERE b.source = 'tuned'
), kept(id) AS (
	SELECT id FROM job WHERE kind = 'train' AND (
		json_extract(spec, '$.dataset.dataset_id') IN (SELECT id FROM dataset WHERE stays_local = 1)
		OR json_extract(spec, '$.validation.dataset_id') IN (SELECT id FROM dataset WHERE stays_local = 1))
	UNION SELECT o.child FROM kept k JOIN origin o ON o.parent = k.id
)
UPDATE job SET stays_local = 1 WHERE id IN (SELECT id FROM kept);--> statement-breakpoint
UPDATE base_model SET stays_local = 1 WHERE source = 'tuned' AND revision IN (SELECT c.id FROM checkpoint c JOIN job j ON j.id = c.job_id WHERE j.stays_local = 1);