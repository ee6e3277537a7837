CREATE TABLE `credit_use` (
	`credit_id` text NOT NULL,
	`statement_id` text NOT NULL,
	`org` text NOT NULL,
	`micros` integer NOT NULL,
	PRIMARY KEY(`credit_id`, `statement_id`)
);
--> statement-breakpoint
CREATE INDEX `credit_use_statement` ON `credit_use` (`statement_id`);--> statement-breakpoint
CREATE TABLE `late_charge` (
	`source` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`statement_id` text NOT NULL,
	`kind` text NOT NULL,
	`micros` integer NOT NULL,
	`at` integer NOT NULL,
	`billed_on` text
);
--> statement-breakpoint
CREATE INDEX `late_charge_unbilled` ON `late_charge` (`org`,`at`) WHERE billed_on is null;