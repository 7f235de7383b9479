// SPDX-License-Identifier: Apache-2.0

// Command nexmark generates the events of the NEXMark suite, runs its queries as streamd pipelines, and checks their
// results. See its README.
package main
