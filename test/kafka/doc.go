// SPDX-License-Identifier: Apache-2.0

// Package kafkabroker runs a real Apache Kafka broker for tests: one KRaft node, from the jars that the Kafka
// project publishes on Maven Central, on this machine, in a folder of its own.
//
// # Mental model
//
// kfake answers fast and is enough for most tests. It completes transactions at once and never crashes, so what
// is promised about transactions, fencing, coordinators and kill -9 is proven here.
//
//	func TestMain(m *testing.M) { kafkabroker.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		broker := kafkabroker.Shared(t)        // one broker for the package, started by the first test that asks
//		topic := broker.CreateTopic(t, 4)      // its own topic: tests run in parallel
//		client := broker.Client(t)
//	}
//
// A test that kills or restarts its broker takes one of its own with [Start]. Commands use [StartProcess].
//
// The jars are resolved once per user: they are kept below the user's cache folder, in a folder named by the hash
// of pom.xml. A lock file keeps test packages that start together from resolving twice.
//
// # Needs
//
// Java 17 or newer; Maven and the network for the first use. Where these are missing tests are skipped and the
// reason is printed, unless REQUIRE_KAFKA=1 is set, as in CI: then they fail. A broker that does not
// start although all is there always fails the test, with the end of its log. Only Unix systems are supported.
//
// # Invariants
//
//   - I1: a broker never outlives its test, nor (on Linux) its process, however that ends.
//   - I2: Addr stays the same, and no acknowledged record is lost, over Stop, Kill and Restart.
//   - I3: a jar folder in the cache is complete: it gets its name only after Maven has ended well.
//
// # Concurrency
//
// All of a Broker's methods may be called at the same time; Stop, Kill and Restart then wait for each other.
package kafkabroker
