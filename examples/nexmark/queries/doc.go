// SPDX-License-Identifier: Apache-2.0

// Package queries holds the queries of the NEXMark suite as streamd pipelines, each in a file of its own.
//
// # Mental model
//
// A query reads some of the three topics and writes its results to one. Bids have the id of their auction as key, so
// that whatever is asked about an auction needs no repartition topic. Each source decodes only the texts that its query
// looks at.
//
// What the results have to be, where the suite leaves it open, is said by the package reference, which computes them by
// other means.
package queries
