CREATE TABLE `allowance_use` (
	`org` text NOT NULL,
	`month` text NOT NULL,
	`meter` text NOT NULL,
	`quantity` integer NOT NULL,
	PRIMARY KEY(`org`, `month`, `meter`)
);
--> statement-breakpoint
CREATE TABLE `billing_account` (
	`org` text PRIMARY KEY NOT NULL,
	`stripe_customer_id` text,
	`card_brand` text,
	`card_last4` text,
	`card_expires` text,
	`collection` text DEFAULT 'charge' NOT NULL,
	`tax_exempt` integer DEFAULT false NOT NULL,
	`email` text,
	`late_since` integer,
	`late_step` text,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `billing_account_stripe` ON `billing_account` (`stripe_customer_id`);--> statement-breakpoint
CREATE TABLE `budget` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`scope` text NOT NULL,
	`scope_id` text NOT NULL,
	`period` text NOT NULL,
	`limit_micros` integer,
	`limit_gpu_seconds` integer,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `budget_scope` ON `budget` (`org`,`scope`,`scope_id`,`period`);--> statement-breakpoint
CREATE TABLE `budget_hold` (
	`job_id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`user_id` text NOT NULL,
	`key_id` text,
	`sweep_id` text,
	`micros` integer NOT NULL,
	`gpu_seconds` integer NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `budget_hold_org` ON `budget_hold` (`org`);--> statement-breakpoint
CREATE TABLE `budget_use` (
	`budget_id` text NOT NULL,
	`period` text NOT NULL,
	`micros` integer DEFAULT 0 NOT NULL,
	`gpu_seconds` integer DEFAULT 0 NOT NULL,
	`notified` integer DEFAULT 0 NOT NULL,
	PRIMARY KEY(`budget_id`, `period`),
	FOREIGN KEY (`budget_id`) REFERENCES `budget`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `credit` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`kind` text NOT NULL,
	`reason` text NOT NULL,
	`note` text DEFAULT '' NOT NULL,
	`micros` integer NOT NULL,
	`used_micros` integer DEFAULT 0 NOT NULL,
	`statement_id` text,
	`source` text,
	`stripe_refund_id` text,
	`stripe_credit_note_id` text,
	`state` text NOT NULL,
	`error` text,
	`expires_at` integer,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `credit_source` ON `credit` (`source`);--> statement-breakpoint
CREATE INDEX `credit_org` ON `credit` (`org`,`kind`);--> statement-breakpoint
CREATE TABLE `job_price` (
	`job_id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`price_list_id` text,
	`org_price_list_id` text,
	`max_micros` integer
);
--> statement-breakpoint
CREATE TABLE `ledger_entry` (
	`n` integer PRIMARY KEY NOT NULL,
	`txn` text NOT NULL,
	`org` text NOT NULL,
	`account` text NOT NULL,
	`micros` integer NOT NULL,
	`at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `ledger_entry_txn` ON `ledger_entry` (`txn`,`account`);--> statement-breakpoint
CREATE INDEX `ledger_entry_account` ON `ledger_entry` (`org`,`account`);--> statement-breakpoint
CREATE TABLE `meter_cursor` (
	`name` text PRIMARY KEY NOT NULL,
	`position` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `meter_interval` (
	`n` integer PRIMARY KEY NOT NULL,
	`source` text NOT NULL,
	`org` text NOT NULL,
	`user_id` text,
	`key_id` text,
	`kind` text NOT NULL,
	`meter` text NOT NULL,
	`job_id` text,
	`attempt_id` text,
	`deployment_id` text,
	`model` text,
	`provider` text,
	`gpu_model` text,
	`from_ms` integer NOT NULL,
	`to_ms` integer NOT NULL,
	`quantity` integer NOT NULL,
	`free` integer DEFAULT 0 NOT NULL,
	`free_reason` text,
	`price_list_id` text,
	`unit_micros` integer DEFAULT 0 NOT NULL,
	`micros` integer DEFAULT 0 NOT NULL,
	`reverses` text,
	`reversed_for` text,
	`at` integer NOT NULL,
	`statement_id` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `meter_interval_source` ON `meter_interval` (`source`);--> statement-breakpoint
CREATE INDEX `meter_interval_org` ON `meter_interval` (`org`,`from_ms`);--> statement-breakpoint
CREATE INDEX `meter_interval_job` ON `meter_interval` (`job_id`,`meter`,`from_ms`);--> statement-breakpoint
CREATE INDEX `meter_interval_attempt` ON `meter_interval` (`attempt_id`,`meter`,`from_ms`);--> statement-breakpoint
CREATE INDEX `meter_interval_unbilled` ON `meter_interval` (`org`,`to_ms`) WHERE statement_id is null;--> statement-breakpoint
CREATE TABLE `price_list` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text,
	`prices` text NOT NULL,
	`note` text DEFAULT '' NOT NULL,
	`effective_at` integer NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`announced_at` integer,
	`withdrawn_at` integer
);
--> statement-breakpoint
CREATE INDEX `price_list_effective` ON `price_list` (`org`,`effective_at`);--> statement-breakpoint
CREATE TABLE `statement` (
	`id` text PRIMARY KEY NOT NULL,
	`number` text NOT NULL,
	`org` text NOT NULL,
	`month` text NOT NULL,
	`mode` text NOT NULL,
	`state` text NOT NULL,
	`currency` text DEFAULT 'usd' NOT NULL,
	`subtotal_cents` integer NOT NULL,
	`credit_cents` integer DEFAULT 0 NOT NULL,
	`tax_cents` integer DEFAULT 0 NOT NULL,
	`total_cents` integer NOT NULL,
	`paid_cents` integer DEFAULT 0 NOT NULL,
	`refunded_cents` integer DEFAULT 0 NOT NULL,
	`closed_at` integer NOT NULL,
	`due_at` integer,
	`paid_at` integer,
	`stripe_invoice_id` text,
	`stripe_url` text,
	`error` text,
	`tries` integer DEFAULT 0 NOT NULL,
	`not_before` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `statement_number` ON `statement` (`number`);--> statement-breakpoint
CREATE UNIQUE INDEX `statement_month` ON `statement` (`org`,`month`);--> statement-breakpoint
CREATE UNIQUE INDEX `statement_stripe` ON `statement` (`stripe_invoice_id`);--> statement-breakpoint
CREATE INDEX `statement_state` ON `statement` (`state`,`not_before`);--> statement-breakpoint
CREATE TABLE `statement_line` (
	`id` text PRIMARY KEY NOT NULL,
	`statement_id` text NOT NULL,
	`position` integer NOT NULL,
	`kind` text NOT NULL,
	`meter` text,
	`description` text NOT NULL,
	`quantity` integer NOT NULL,
	`unit_micros` integer NOT NULL,
	`micros` integer NOT NULL,
	`cents` integer NOT NULL,
	FOREIGN KEY (`statement_id`) REFERENCES `statement`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `statement_line_position` ON `statement_line` (`statement_id`,`position`);--> statement-breakpoint
CREATE TABLE `stripe_event` (
	`id` text PRIMARY KEY NOT NULL,
	`type` text NOT NULL,
	`object_id` text NOT NULL,
	`state` text NOT NULL,
	`tries` integer DEFAULT 0 NOT NULL,
	`not_before` integer DEFAULT 0 NOT NULL,
	`error` text,
	`created_at` integer NOT NULL,
	`received_at` integer NOT NULL,
	`handled_at` integer
);
--> statement-breakpoint
CREATE INDEX `stripe_event_waiting` ON `stripe_event` (`not_before`) WHERE state = 'waiting';--> statement-breakpoint
CREATE INDEX `stripe_event_received` ON `stripe_event` (`received_at`);--> statement-breakpoint
CREATE TRIGGER `meter_interval_delete` BEFORE DELETE ON `meter_interval` BEGIN SELECT RAISE(ABORT, 'rows of meter_interval are never deleted'); END;
--> statement-breakpoint
CREATE TRIGGER `meter_interval_update` BEFORE UPDATE ON `meter_interval`
WHEN OLD.statement_id IS NOT NULL OR NEW.n <> OLD.n OR NEW.source <> OLD.source OR NEW.org <> OLD.org
  OR NEW.quantity <> OLD.quantity OR NEW.free <> OLD.free OR NEW.micros <> OLD.micros OR NEW.unit_micros <> OLD.unit_micros
  OR NEW.from_ms <> OLD.from_ms OR NEW.to_ms <> OLD.to_ms OR NEW.meter <> OLD.meter OR NEW.kind <> OLD.kind
BEGIN SELECT RAISE(ABORT, 'rows of meter_interval are never changed'); END;
--> statement-breakpoint
CREATE TRIGGER `ledger_entry_delete` BEFORE DELETE ON `ledger_entry` BEGIN SELECT RAISE(ABORT, 'rows of ledger_entry are never deleted'); END;
--> statement-breakpoint
CREATE TRIGGER `ledger_entry_update` BEFORE UPDATE ON `ledger_entry` BEGIN SELECT RAISE(ABORT, 'rows of ledger_entry are never changed'); END;
