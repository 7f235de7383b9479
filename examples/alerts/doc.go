// SPDX-License-Identifier: Apache-2.0

// Command alerts compares readings of sensors with rules that may change while it runs: a broadcast. See its README.
package main
