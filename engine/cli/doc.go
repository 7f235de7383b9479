// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of streamd: of a pipeline's own binary ([Command]) and of the generic one
// ([Generic]), which has what needs no pipeline code.
//
// # Conventions
//
//   - Data goes to stdout, talk to stderr. There is no colour.
//   - Where there is a table there is -o json, with stable names.
//   - Settings are flags, environment variables, a file or defaults, in that order (package config).
//   - Whatever deletes or starts something new has --dry-run; what deletes needs the application's id typed,
//     except gc, which deletes only what workers would.
//   - The first SIGINT or SIGTERM ends the command cleanly, which for a worker is a drain; the second at once.
//
// # Exit codes
//
//	0    done; a drained worker too
//	1    failed
//	2    the command line is wrong
//	3    the configuration or the pipeline is not valid, or does not fit the stored state
//	4    not found
//	5    a precondition does not hold: something is in use, or exists already
//	6    took longer than --timeout
//	7    not authenticated or not authorized
//	130  ended by SIGINT; 143: by SIGTERM
//
// # Concurrency and failure
//
// A command is run once, from one goroutine. Errors are returned, never printed where they occur; [Execute] prints
// them and chooses the exit code.
package cli
