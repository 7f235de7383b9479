// SPDX-License-Identifier: Apache-2.0

// Command orders brings orders, payments and shipments together: an outer join of streams, and a join of tables by
// foreign key. See its README.
package main
