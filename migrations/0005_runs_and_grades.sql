ALTER TABLE `answer` ADD `reward` real;--> statement-breakpoint
ALTER TABLE `answer` ADD `grade_error` text;--> statement-breakpoint
ALTER TABLE `evaluation` ADD `against_model` text;--> statement-breakpoint
ALTER TABLE `evaluation` ADD `grader` text;--> statement-breakpoint
ALTER TABLE `job` ADD `tags` text DEFAULT '[]' NOT NULL;--> statement-breakpoint
ALTER TABLE `job` ADD `note` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `job` ADD `archived_at` integer;