// SPDX-License-Identifier: Apache-2.0

// Package stream is the language in which pipelines are written.
//
// # What for
//
// A pipeline reads topics, transforms and groups records, keeps state by key, and writes topics. It is
// typed from end to end: there is no interface{} in user code, and a step that does not fit the one before it
// does not compile.
//
//	p := stream.NewPipeline("clicks")
//	stream.From(p, "clicks", codec.String, codec.JSON[Click]()).
//		Filter(func(c Click) bool { return !c.Bot }).
//		KeyBy("by-page", func(c Click) string { return c.Page }).
//		Group().
//		Count("clicks-per-page").
//		Stream().
//		To("clicks-per-page")
//	t, err := p.Build()
//
// # Mental model
//
// A Stream is a flow of records, a Table the newest value per key. Both are small values that stand for a
// step of the pipeline: use one twice and the flow branches. Declaring does nothing; Build checks the whole and
// compiles it, and the engine runs the result.
//
// A verb sees the value; its KV form sees the key too. Map, Filter, FlatMap and Process keep the key. MapKV and
// FlatMapKV change it, which leaves records where their former key put them: before a step that
// relies on keys, Repartition sends them to where they belong. KeyBy does both in one.
//
// What flows from a table are changes of its rows, deletions included. A change's old side is computed and kept from being
// overwritten only where a later step needs it. Filter, Map and joins of tables have no store: their rows are computed
// from those of the tables they are made from.
//
// A VersionedTable knows what its rows were, too: JoinAsOf finds the row of the record's time, late as it may come.
//
// # Process
//
// What no verb does, a Process step does: its handler sees each record with the states of its key (Value, Map and List,
// each with a TTL if need be), sets timers in event time and by the wall clock, and emits to side outputs. Timers
// and expired state are served in the order of their times, so that what a timer finds does not depend on how far
// event time went at once.
//
// A broadcast gives every task of such a step the newest values of a small stream. AsyncOrdered and AsyncUnordered ask
// other services, for many records at a time.
//
// # Names
//
// Steps that own state or a topic take a name first: it is the identity of both, across restarts and
// releases. Steps without state have none, and can come and go.
//
// Such a verb has the type of its name as a type parameter, which nobody has to write. The compiler makes all methods of
// each type of stream that a program mentions, but those with type parameters only where they are called: a program is
// built with the windows, joins and stores that it uses, not with all that its types allow.
//
// # Codecs
//
// From gives a stream its codecs, and they go along as long as the type stays. Strings, []byte, int64
// and uint64 have a codec without being asked. Others are given where the type appears: as the last argument of
// KeyBy, Aggregate and To, with WithKey and WithValue anywhere, or once for the pipeline with UseCodec. A
// codec is needed only where a topic or a store hangs on it.
//
// # Invariants
//
//   - I1: no verb panics or fails: what is wrong is collected, and Build reports all of it.
//   - I2: records of one input partition are processed in order, each through all steps before the next.
//   - I3: a step's user functions are called by one goroutine at a time within a task, and by several tasks
//     at once: functions given to verbs must not share mutable state, while Process makes its own per task. Of an
//     AsyncFunc many calls run at once.
//   - I4: the engine's part of a record's way allocates nothing per record; codecs and user code may.
//   - I5: output records carry the headers of the input record that caused them, and the newest time of what went into
//     them.
//   - I6: a change's old side is what the change of its key before it left; a change of a side of a join is at most
//     one change of the result.
//
// Values that user functions receive are theirs: nothing changes under them afterwards. The one exception
// are aggregates, which the state owns (see Aggregate).
//
// # Concurrency
//
// A Pipeline is built by one goroutine. What Build returns is safe for concurrent use.
//
// # Failure behaviour
//
// Build returns all errors joined, each `step "name": what was found; what to do`. At run time an error of a step ends the
// epoch, unless a policy says otherwise (see OnError): as *operators.DecodeError of a source, as *operators.UserError of
// user code and of codecs that refuse to encode. A panic of a step that has no policy is the engine's to catch: it knows
// the step from operators.Context.
//
// A policy is about one step and one record, or what is due of one key when time has passed. The steps before it have done
// their work, other branches too, and that stays; the failing step's own changes to state are undone, what it emitted for
// the record does not go on, and so the steps below never see it. A row that a step of a table fails on is not there for
// those below. This is decided as the record is processed, in the epoch's transaction: nothing is undone
// later, and a record that is processed again meets the same fate unless user code decides otherwise. Steps with a
// policy pay for it: what they emit is held until they are done with the record, and the state that they change is encoded
// once more, twice if its values can be changed in place.
//
// Errors of the state, of the brokers and of a schema registry that is away follow no policy: nothing is wrong with
// the record.
package stream
