ALTER TABLE `budget_hold` ADD `micros_per_hour` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `budget_hold` ADD `gpus` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `budget_hold` ADD `charged_from` integer;