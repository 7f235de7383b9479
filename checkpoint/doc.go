// SPDX-License-Identifier: Apache-2.0

// Package checkpoint is the durable protocol over an object store: what a checkpoint is, how it becomes
// valid, how a task comes back from one, and when it may go.
//
// # What it is for
//
// A task's state lives on a disk that may vanish. Now and then the engine hands the task's frozen files
// to Publish; later any worker can Restore them and replay the rest from the changelog. Checkpoints of
// all tasks with one round number form a consistent cut of the pipeline.
//
// # Mental model
//
// Immutable objects and create-if-absent are the only coordination; nothing that matters is overwritten.
// Pure files (paths.go, envelope.go, manifest.go, decide.go, retain.go) decide; the others read facts
// and act.
//
//	<app>/clock                                      scratch, to read the store's time
//	<app>/gc/claims/<number>.json                    who collects, and what it keeps; the newest counts
//	<app>/<incarnation>/application.json             how this life of the application began, created once
//	<app>/<incarnation>/initialized                  initial offsets are committed
//	<app>/<incarnation>/rounds/<round>/started       the round exists; says whether it is a halt
//	<app>/<incarnation>/rounds/<round>/tasks/<task>.json   manifest: one task's checkpoint
//	<app>/<incarnation>/rounds/<round>/complete      round record: all manifests were read back whole, in-flight records stored
//	<app>/<incarnation>/rounds/<round>/abandoned     some task cannot store its part
//	<app>/<incarnation>/rounds/<round>/resumed       the application may go on after this halt
//	<app>/<incarnation>/objects/<generation>.<round>.<upload>/<sha256>   state files, in-flight records
//	<app>/<incarnation>/savepoints/<name>.json       keeps a round
//	<app>/<incarnation>/borrowers/<app>              a fork that names objects of this life
//	<app>/<incarnation>/gc/floor/<round>             older rounds are gone, or going
//	<app>/<incarnation>/gc/condemned/<id>.json       objects that go when a grace time has passed
//	<app>/<incarnation>/gc/condemned/<id>.seen       since when that list is known to be there
//
// A round:
//
//	        StartRound        Publish × tasks         CompleteRound            floor > round
//	(none) ───────────▶ started ─────────────▶ started ──────────────▶ complete ─────────────▶ dropped
//
// # Invariants
//
//   - I1 A manifest exists only after every object it names is durable, and it is the only thing that
//     makes them a checkpoint. Of several owners that publish one task and round exactly one wins.
//
//   - I2 A round that Rounds lists as complete can be restored, task by task, until garbage collection
//     raises the floor above it; the floor rises before the first object goes.
//
//   - I3 An object is deleted only if it has been on a list of condemned objects for the grace time, and no
//     document named it at a look after that; and its name is never written again afterwards (each upload
//     has a folder of its own).
//
//   - I4 The floor only rises. A round number that was dropped is never listed as complete again.
//
//   - I5 Nothing read from the store is trusted: format, checksum, identity, names, counts and sizes are
//     checked before use; files are confined to their folder and verified by size and SHA-256.
//
//   - I6 Rounds and objects are deleted only by the holder of the newest claim, but for calls that were on
//     their way when a newer one was made.
//
// # Why I3 makes deletion safe
//
// Documents that name objects are manifests and round records. Whoever creates one, of this or of another
// application, follows these rules, whose time begins at "began":
//
//	U1  objects of its own are sent after began;
//	U2  for objects that it finds in the store it reads the lists of condemned objects, after began, and names
//	    none that is on one;
//	U3  after that it makes sure that the document exists from which it knows them;
//	U4  a fork has left its mark with the owners before U2;
//	U5  the document is created within half the grace time of began, or withdrawn. How much later a call takes
//	    effect than it was given up, and by how much clocks disagree, is together less than the other half.
//
// So a document that names an object takes effect less than a grace time after its creator has looked at the
// lists. Let a list be seen at time s, by a mark that was created when the list was there. Whoever looks after s
// does not name its objects (U2); who has looked before has created its document by s plus the grace time, or
// never will. From then on, and for as long as the list exists, no document can come to name its objects. A
// collector looks at all documents, and at the marks of forks, later than that. What it finds unnamed stays
// unnamed: it does not matter how old its view is, whether a listing is one moment's picture, nor for how long
// the collector is suspended before it deletes. Collectors of any age may do so side by side.
//
// A list is removed when its objects are deleted or were found named. Only the latter frees an object, for
// those who look at the lists afterwards; these find the document from which they know the object (U3). It was
// there, then, from before the end of the grace time until the list had gone, and every collector that has read the list
// has seen it: none of them deletes the object.
//
// A running upload's objects are named by nothing yet. They are spared by their age, which saves sending them
// again, and were they condemned they would have the grace time nevertheless, which is longer than U5 lets the
// upload go on.
//
// All ages are differences between times of the store. A store that gives objects the time at which they began
// to be written is fine: marks of lists begin to be written when the list is there. Where a folder is shared by
// machines whose clocks give the times, U5 is about these. The grace time must be the same everywhere.
//
// # Who collects
//
// I3 holds for anybody. But what is kept beyond what is referred to, by number and age, is the owner's choice, and a
// process that has lost ownership may think otherwise. So the right to collect is a claim with a number. The
// engine claims when a worker becomes the one that completes rounds, and the claim records what it keeps. A
// collector looks at the claims before it begins, before it raises a floor, after a hundred deletions, and
// before any that comes more than seconds after the last look, by the monotonic and by the wall clock: a process
// that was suspended ends the call that it was in, and stops.
//
// Savepoints are safe from collectors of any claim. One counts if the floor was not above its round after it was
// created, or if another that had kept the round still did; and collection reads savepoints after it has raised the
// floor, until it sees the same ones twice.
//
// # Concurrency
//
// A Repository may be used by many goroutines, and by any number of processes on one store, including
// collection.
//
// # Failure behaviour
//
// Every call may be repeated after any failure or crash, and does again what is missing. Errors say what
// the caller does next: ErrSuperseded (stop, another owner has published), ErrCorrupt and ErrMissing
// (fall back, the text names the object), ErrFutureFormat (refuse), ErrIncomplete (wait). Store failures
// come through with the objstore sentinels; retries belong to objstore.Retry.
package checkpoint
