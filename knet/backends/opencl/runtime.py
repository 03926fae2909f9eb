import numpy as np, pyopencl as cl
from ...compiler.kernels.target import Target
from ...compiler.kernels.prelude import prelude
_R=[]
def runtimes():
    if not _R:
        d=cl.get_platforms()[0].get_devices()[0]; _R.append(RT(d))
    return _R
T={"int":np.int32,"long":np.int64,"float":np.float32,"double":np.float64,"int8_t":np.int8,"int16_t":np.int16,"int32_t":np.int32,"int64_t":np.int64,"uint8_t":np.uint8,"uint16_t":np.uint16,"uint32_t":np.uint32,"uint64_t":np.uint64}
class P:
    def __init__(s,rt,k,groups,items): s.rt=rt; s.k=k; s.g=tuple(a*b for a,b in zip(groups,items)); s.l=items
    def set(s,i,m,o): s.k.set_arg(2*i,m); s.k.set_arg(2*i+1,np.int64(o))
    def run(s): s.rt.launched+=1; cl.enqueue_nd_range_kernel(s.rt.q,s.k,s.g,s.l)
class RT:
    def __init__(s,d):
        s.c=cl.Context([d]); s.q=cl.CommandQueue(s.c); s.pool=cl.tools.MemoryPool(cl.tools.ImmediateAllocator(s.q))
        s.target=Target("opencl",True,1,2,1<<16,16,True); s.known={}; s.launched=s.copied=0; s.device=None; s.status=None; s.pending=False
    def allocate(s,n): return s.pool.allocate(max(n,1))
    def functions(s,ks):
        new={k.name:k for k in ks if k.name not in s.known}
        if new:
            src=prelude("opencl",True)+"\n".join(k.source for k in new.values())
            p=cl.Program(s.c,src).build("-w")
            for k in new.values(): s.known[k.name]=(p,k,cl.Kernel(p,k.name))
        return [s.known[k.name] for k in ks]
    def launch(s,f,groups,ptrs,nums):
        p,k,kn=f
        args=[]
        for m,o in ptrs: args+=[m,np.int64(o)]
        args+=[T[t](n) for t,n in zip(k.numbers,nums)]
        kn.set_args(*args); s.launched+=1
        cl.enqueue_nd_range_kernel(s.q,kn,tuple(a*b for a,b in zip(groups,k.items)),k.items)
    def prepare(s,f,groups,ptrs,nums):
        p,k,_=f; kn=cl.Kernel(p,k.name); args=[]
        for m,o in ptrs: args+=[m,np.int64(o)]
        args+=[T[t](n) for t,n in zip(k.numbers,nums)]
        for i,a in enumerate(args):
            if a is not None: kn.set_arg(i,a)
        return P(s,kn,groups,k.items)
    def upload(s,a):
        m=s.allocate(a.nbytes); cl.enqueue_copy(s.q,m,np.ascontiguousarray(a)) if a.nbytes else None; return m
    def download(s,m,off,n):
        out=np.empty(n,np.uint8); cl.enqueue_copy(s.q,out,m,src_offset=off); return out
    def synchronize(s): s.q.finish()
