// SPDX-License-Identifier: Apache-2.0

// Package model is the world of NEXMark: people who register at an auction site, auctions that they open, and bids on
// these auctions, with a generator of such events and their codecs.
//
// # Mental model
//
// Events are numbered. Of 50 in a row the first is a person, three are auctions and the rest are bids. What event n is
// depends on the generator's seed and on n only, so that any event can be made at any time, by any goroutine, without
// the ones before it; an auction knows its seller, and a bid its auction and bidder, by arithmetic on n.
//
// Ids, proportions, and the distributions of prices, sizes and hot keys are those of the NEXMark suite of Apache Beam and
// github.com/nexmark/nexmark. References go to a hot id in most cases: to one auction of each hundred with half of the
// bids, to one seller and one bidder of each hundred people with three quarters. The others are spread over the newest
// 1000 people and 100 auctions, and over ten that do not exist yet. A bidder gets the first id added once, as in Beam.
//
// # Concurrency
//
// A Generator and the codecs are safe for concurrent use.
package model
