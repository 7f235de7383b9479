// SPDX-License-Identifier: Apache-2.0

// Package data holds the real data that the examples and their tests run on. Its README says what the data is and
// where it comes from. The package only hands out bytes, so that a test can compute its numbers from the raw files;
// all functions are safe for concurrent use.
package data
