exec(open("/tmp/w/random-lab/real_unlike.py").read().split("for s in scans")[0])
import harmony.core.unlike as U
from scipy import ndimage
import torch
src=open("/tmp/w/random-lab/run1.py").read(); a=src.index("def bad(v)"); b=src.index("\n\n",a)
from dataclasses import replace
exec(src[a:b].split("want=")[0])
c=cfg(); data=app.build_data(c); val=data.volumes("val")[:2]
vols=[(s.subject,pp(s)) for s in (scans[1],scans[0],scans[5])]
for k,v in enumerate(val):
    vols.append((f"val{k}",v)); vols.append((f"reorder{k}",app.scanner(c,"reorder")(v))); vols+= [(n+str(k),w) for n,w in bad(v) if n in("flair","noise","labelmap2","t2lab")]
    vols.append((f"rb{k}",app.scanner(c,"random_beyond")(v)))
def lay(image, expected, mask, log, passes, wide, fine=1/48):
    both=mask&(expected>0); w=U.pooled(both.float()); ins=(w>.5).numpy(); R=[]
    for e in (image,expected):
        v=(U.pooled(e*both)/w.clamp(min=.5)).numpy()
        if log:
            v=np.log(np.maximum(v,.02)); v=U.smoothed(v,ins,fine)
            for _ in range(passes): v=v-U.smoothed(v,ins,wide)
        else:
            v=U.smoothed(v,ins,fine)
            for _ in range(passes): v=v/np.maximum(U.smoothed(v,ins,wide),1e-4)
        R.append(v[ins].argsort().argsort())
    return U.correlation(*R)
for n,v in vols:
    st=v.stack(v.select(None,1)); e=U.on_size(R.start(st.position),st.image.shape[-2:])[:,0]; im,m=st.image[:,0],st.mask[:,0]
    box=tuple(slice(int(k.min()),int(k.max())+1) for k in m.nonzero().T); im,m,e=im[box],m[box],e[box]
    print("%-12s"%n, " ".join("%.2f"%lay(im,e,m,l,p,w) for l in (0,1) for p in (1,2,3) for w in (1/12,1/20)),flush=True)
