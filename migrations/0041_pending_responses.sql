ALTER TABLE `stored_answer` ADD `pending` integer DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX `stored_answer_pending` ON `stored_answer` (`created_at`) WHERE pending = 1;