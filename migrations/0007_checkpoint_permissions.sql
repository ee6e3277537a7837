CREATE TABLE `checkpoint_permission` (
	`id` text PRIMARY KEY NOT NULL,
	`checkpoint_id` text NOT NULL,
	`org` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`checkpoint_id`) REFERENCES `checkpoint`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `checkpoint_permission_org` ON `checkpoint_permission` (`checkpoint_id`,`org`);--> statement-breakpoint
CREATE INDEX `checkpoint_permission_shared` ON `checkpoint_permission` (`org`,`created_at`);