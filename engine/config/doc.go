// SPDX-License-Identifier: Apache-2.0

// Package config holds every setting of streamd: what it is called, what it means, where its value came from
// and whether the values fit together.
//
// # Mental model
//
// There is one table of settings ([Settings]). A setting has one name, from which everything else follows:
//
//	name         commit.interval
//	flag         --commit-interval
//	environment  STREAMD_COMMIT_INTERVAL
//	file         commit:
//	               interval: 100ms
//
// The flags of a command, the environment variables, the keys of the file, `config view` and
// docs/reference/configuration.md are all made from that table, so none of them can disagree.
//
// [Load] takes the value of a setting from the first of: flag, environment, file, default. It reads; it does
// not judge whether values fit together. [Config.Validate] does, and reports all problems at once.
//
// # Invariants
//
//   - I1: a key that is not in the table is an error that proposes the nearest name; nothing is ignored.
//   - I2: a secret is never a value of a setting, only the name of a file is. [Secret] prints as [redacted].
//   - I3: the default of a setting is written once, in the table, and parsed by the same code as any other value.
//
// # Concurrency
//
// A Config is filled by Load and not changed by this package afterwards. Reading it from several goroutines is safe.
//
// # Failure behaviour
//
// Load and Validate return an [*InvalidError] (errors.Is [ErrInvalid]) that lists each problem with the setting
// and the origin of the offending value.
package config
