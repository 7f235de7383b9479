// SPDX-License-Identifier: Apache-2.0

// Command flights turns a stream of flights into delay statistics of each airport and its busiest routes. See its
// README.
package main
