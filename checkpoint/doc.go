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
//   - I2 A round that Rounds lists as complete can be restored, task by task, until garbage collection
//     raises the floor above it; the floor rises before the first object goes.
//   - I3 An object is deleted only if no manifest that may be used names it, twice, with the grace time
//     in between; and its name is never written again afterwards (each upload
//     has a folder of its own).
//   - I4 The floor only rises. A round number that was dropped is never listed as complete again.
//   - I5 Nothing read from the store is trusted: format, checksum, identity, names, counts and sizes are
//     checked before use; files are confined to their folder and verified by size and SHA-256.
//
// Why I3 holds against slow uploads: an upload reuses objects only of a manifest that it has just seen to
// exist, and gives up unless its own manifest is created within half the grace time of that. Collection
// deletes a manifest before it condemns the objects, and waits the whole grace time before it reads all
// manifests again and deletes what is still unnamed. So the manifest is either seen or never created.
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
