package statestore
import ("testing";"math/rand/v2";"fmt";"encoding/binary";"os";"strings";"time";"runtime";"runtime/debug";"sync";"syscall";"github.com/streamd/streamd/partition")
func rss() string { b,_:=os.ReadFile("/proc/self/status"); var o []string; for _,l:=range strings.Split(string(b),"\n"){ if strings.HasPrefix(l,"VmRSS")||strings.HasPrefix(l,"VmHWM"){o=append(o,strings.Join(strings.Fields(l)," "))}}; return strings.Join(o," ") }
func TestRSS(t *testing.T){
 res,err:=NewResources(512<<20); if err!=nil{t.Fatal(err)}
 debug.SetMemoryLimit(res.Shares().GoHeapLimit)
 dir:=t.TempDir()
 const tasks,per=8,1000000
 var dbs []*DB; var vs []*Value[uint64]
 for i:=range tasks { db,err:=Open(Options{Dir:fmt.Sprint(dir,"/",i),Identity:Identity{App:"r",Incarnation:1,Task:partition.TaskID{Partition:int32(i)}},Resources:res}); if err!=nil{t.Fatal(err)}; dbs=append(dbs,db); vs=append(vs,NewValue(db,1,numbers{})) }
 run:=func(name string, f func(i,n int) uint64, count int){ t0:=time.Now(); var wg sync.WaitGroup; for lane:=range 2 { wg.Add(1); go func(){ defer wg.Done(); var k [8]byte; ep:=uint64(0); for n:=0;n<count;n+=5000 { for i:=lane;i<tasks;i+=2 { for j:=range 5000 { binary.BigEndian.PutUint64(k[:],f(i,n+j)); p,_,err:=vs[i].Update(k[:]); if err!=nil{panic(err)}; *p++ }; ep++; if _,err:=dbs[i].Prepare(1<<20);err!=nil{panic(err)}; if err:=dbs[i].Confirm(Position{Epoch:ep});err!=nil{panic(err)} } } }() }; wg.Wait()
  var ms runtime.MemStats; runtime.ReadMemStats(&ms); d:=time.Since(t0); var ru syscall.Rusage; syscall.Getrusage(0,&ru); fmt.Print("cpu ",(ru.Utime.Sec+ru.Stime.Sec)," "); fmt.Printf("%s: %v, %.0f updates/s, %s heapInuse=%dMB sys=%dMB gc=%d\n",name,d.Round(time.Millisecond),float64(count*tasks)/d.Seconds(),rss(),ms.HeapInuse>>20,ms.Sys>>20,ms.NumGC) }
 // scattered key: a bijection of n
 mix:=func(n uint64) uint64 { return n*0x9e3779b97f4a7c15 }
 run("load", func(i,n int) uint64 { return mix(uint64(n)) }, per)
 rng:=[]*rand.Rand{}; for i:=range tasks { rng=append(rng,rand.New(rand.NewPCG(uint64(i),1))) }
 run("uniform", func(i,n int) uint64 { return mix(rng[i].Uint64()%per) }, 200000)
 run("skewed", func(i,n int) uint64 { r:=rng[i].Float64(); return mix(uint64(r*r*r*r*per)) }, 200000)
 var mt,z uint64; var ct int64; for _,db:=range dbs { m:=db.pebble.Metrics(); mt+=m.MemTable.Size; z+=m.MemTable.ZombieSize; ct+=m.MemTable.Count; if db==dbs[0] { fmt.Println("cache size",m.BlockCache.Size>>20, "tablecache", m.FileCache.TableCount, "memsize", db.memSize>>10, "bigest", m.Levels[0].Sublevels, m.Total().TablesCount) } }; fmt.Println("memtables MB",mt>>20,"zombie",z>>20,"count",ct,"est",res.memtables.Load()>>20,"cache max",res.cache.MaxSize()>>20,"decoded",res.decoded.Load()>>20)
 b,_:=os.ReadFile("/proc/self/smaps_rollup"); fmt.Println(string(b))
 for _,db:=range dbs { if err:=db.Close();err!=nil{t.Error(err)} }
 if err:=res.Close();err!=nil{t.Error(err)}
}
