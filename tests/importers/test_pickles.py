"""A pickle is a program: a frame is taken out of it, and nothing is run."""

from __future__ import annotations

import base64
import contextlib
import io
import pickle
import pickletools
import zlib

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.importers.pickles import unpickled

FRAME = pd.DataFrame(
    {
        "text": pd.Series(["a", "é\n"], dtype=object),
        "number": [0.5, float("nan")],
        "whole": [1, 2],
        "truth": [True, False],
        "mixed": pd.Series([np.float64(0.25), ["x", None]], dtype=object),
    },
    columns=pd.Index(["text", "number", "whole", "truth", "mixed"], dtype=object),
)


class Calls:
    """Pickled, it is a call."""

    def __init__(self, what, *arguments) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self):
        return self.what, self.arguments


class Raw:
    """Pickled by hand: a call of a name that need not be there."""

    def __init__(self, module: str, name: str, *arguments: str) -> None:
        texts = b"".join(b"V" + argument.encode() + b"\n" for argument in arguments)
        self.data = b"c" + module.encode() + b"\n" + name.encode() + b"\n(" + texts + b"tR."


def opened(data: bytes) -> pd.DataFrame:
    return unpickled("path = a.pkl", io.BytesIO(data))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("frame", [FRAME, FRAME.iloc[1:, ::2], FRAME.set_axis([7, 9])], ids=["whole", "part", "named"])
def test_a_frame_of_numbers_and_texts_comes_back_from_every_protocol(frame, protocol):
    found = opened(pickle.dumps(frame, protocol=protocol))
    pd.testing.assert_frame_equal(found, frame.astype(object).reset_index(drop=True), check_column_type=False)


# a frame as RouterBench's are made, pickled by the release itself: packed by zlib, in base 85
EARLIER = {
    "pandas 1.5.3, a part": (
        "c-n1KO>Yx15Y499Hc117N|aVe+)&d?kPre6m5L}(l@&qaT2+>J*Qr-sdsk~Or6`r)(9%l2F;s$o#EpLhV`o#6QXf3ykC}OX^ZeQWzS^j{VQ%MC"
        "##HsAtYH0NK?MWTdPy~X?fh@B{soSqXBtH87hvvBUr(fFg`}zK3o7Y8D-@W{i!_T4-j3H8ZkDSEk|v@07Xs!MDP^8S2Pq?=jj@-PWGV8aadvcB"
        "kwjn?$*{;oSPq9SWACC{n;k!Y*zs!<jPK&n#`-9?=uLh249?HK!h7fibH>|%!C>&_4-Pj4H4R}<54=+_-WF)QW}0D{q&krZ(N}2_*)+jia3k<-"
        "mY{BDzG&`DK@}wi(4wGNx<d*UWm4&)j5LPwu310=+#x2aoxqkC!WfVjG;L|VWa{r`V2-Z9+(ek?d)S6~A=0w{2%+t+g=>3Y8g>J38}AcrZ~m^j"
        ">Iq;N!f*C2o?ju$t8Bfpl@MxvW#=oqP}x>x9m-@1C11XV%H|31Rej0RDOk`ev!aRFN2dBARVcMKk?fG{*gebDE8|amC%PDg2>bzGv%K;332SX!"
        "Jal}t6csrtD2c($=O~k0qkh>3ni6UC%byxgg6WEp$YPdaZ&Z%W!OC6v-&RMAbfz&h$`q#Q$eHCzR?rAbjiYo%imcQO9Y?ikxO%2NK6Z=p)JkRB"
        "+`I1mm-24!Nd4sT)U$bD`_{bDFW?)2H({6W4qS3(C;XeJc6_#FYx0GOV46DmP$WLp8b9YTazutH-FNO?nx@&IB5|3c$|*i2r6I$gd8W#+{}-_o"
        "gnR"
    ),
    "pandas 2.2.2, protocol 2": (
        "c-nPT>y{KX5bl}XS=bf@6a_`O2(pcr(Z$=U=m;Xa&@yNQZN)LBd$QB*_U-GW*&W<b;GDfZ0zQR*{R=PPBlsqoq<dH{+Bv6FRjE{c^(B>?%^+uK"
        "pNV#m6}-Jzu!P&^m}KXT1ncB2G)8DT-lSz&G#M0_cxXqIN?xQa7VU(kY`_a)pN+F%=~AWHm~_VeG>&|+y}_nsnn%G>%&D(;*k}c5ndHMNa8kxH"
        "VnxA*HZ6FNr9u{EAZ<)lUbc#9R<Xmi*03|6LDuJiuz9Kl8`EAxLH1#LQ)-TxjM7;=v5s8?Pj28Tg58eWP@}nyJ$1;w9Oi20UazTkEY9KSt<4QQ"
        "L$J?rCrq@{c(&W^Ui?RW=I2@x&-q*7w71t9fA{|Aj797ZRl)-V&r7`E2bB6{q^e3OwM85SD%C-E!ku&*8+ei6CAYbOLj;GzRyY-!s*Z#T>QRE1"
        "HPi_W^;lS;yF7>E8r>@dC&uVjG4n9Gj)dcH^>ETL93)9xwrBC`wsH!uc`c<}n_)9Oyk5(`lHV`~uAR^h+g##JKRoDK3WNgt7Qw6rdy3%gZLsfX"
        "u<sJQcc0hy!+n~YLn_kU-|ybJKmP1IsNUP^U``YD0l|k7AL&Fp-D#cZG{MI@(I*6*?L?pIL}v)j>O?J_=(F&ID)XGP*)>G0;PXlt;=Gw}V1B;y"
        "cXcT9oxdu<tRz?n7gTu{{BiV)I=V~ng^9j~OEu%s9J-qE%LHF4#>2;N!dK=dILddjz5uOyo~q{^^*lYkAVk;wHNh2$tG=%E8-i~oydJ)D9_h0_"
        "U*V$dGr?_|@@0BKTWoy)|8BL%wGn=(`nRtd8@+L%Kk7m$!B4tSdkxHx=sTW9Cs>lJ&W!p9%yr3&EXgJMW|3cKF-_G20Uj<G8dEHKdo-P^iE6%B"
        "b*#u$%W@2iIepX|db^Cb%%lnxWI`e`ru0G6&)xxL$_f@JC{+ZR(IP7)R|1yQxy8Pz%z#NeTL(3M#*mil$O!WAzey@sI^Z_Z|C%a{P&i@IHH{!7"
        "D<p(#nG8Z^Ii%aH6`rGX8!G;Ff@Qvr6@p>)MyfXiHw;ahZu6qz7o*dJOJ>eswTF?(!K5q%ejVXA!!lir*+Agt2)DfbdO41>WkLI8uAU2~s*ah@"
        "V}aY7qV(JU0<Nshng"
    ),
}


@pytest.mark.parametrize("release", EARLIER)
def test_frames_of_earlier_releases_are_read(release):
    found = opened(zlib.decompress(base64.b85decode(EARLIER[release])))
    columns = ["sample_id", "prompt", "m", "n", "m|model_response", "m|total_cost"]
    assert found[columns].to_numpy().tolist()[-1] == ["mmlu.2", "['b']", 0.0, None, None, 0.25]


MALICIOUS = {
    "a shell": lambda mark: pickle.dumps(Calls(__import__("os").system, f"touch {mark}")),
    "a shell in a frame": lambda mark: pickle.dumps(
        pd.DataFrame({"a": [Calls(__import__("os").system, f"touch {mark}")]})
    ),
    "eval": lambda mark: pickle.dumps(Calls(eval, f"open({str(mark)!r}, 'w')")),
    "exec, protocol 0": lambda mark: Raw("builtins", "exec", f"open({str(mark)!r}, 'w')").data,
    "pandas reads another pickle": lambda mark: pickle.dumps(Calls(pd.read_pickle, str(mark))),
    "pandas evaluates": lambda mark: pickle.dumps(Calls(pd.eval, f"@open({str(mark)!r}, 'w')")),
    "numpy runs a text": lambda mark: Raw("numpy.testing", "rundocs", str(mark)).data,
    "numpy writes a file": lambda mark: pickle.dumps(Calls(np.save, str(mark), [1])),
    "a name with dots": lambda mark: b"\x80\x04\x8c\x05numpy\x94\x8c\x0btesting.sys\x94\x93\x94.",
    "getattr": lambda mark: pickle.dumps(Calls(getattr, FRAME, "to_csv")),
    "a codec": lambda mark: Raw("_codecs", "encode", "x", "rot13").data,
    "a frame writes itself": lambda mark: pickle.dumps(Calls(pd.DataFrame.to_csv, FRAME, str(mark))),
}


@pytest.mark.parametrize("kind", MALICIOUS)
def test_nothing_that_a_pickle_says_is_run(tmp_path, kind):
    mark = tmp_path / "ran"
    data = MALICIOUS[kind](mark)
    list(pickletools.genops(data))  # it is a whole pickle
    with pytest.raises(ErpError, match=r"^path = a\.pkl: is no pickle that can be read safely \(it .*; give "):
        opened(data)
    assert not mark.exists()


def test_the_calls_above_would_have_run(tmp_path):
    mark = tmp_path / "ran"
    pickle.loads(MALICIOUS["a shell in a frame"](mark))
    assert mark.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps({"a": 1}), "it holds a dict"),
        (pickle.dumps(FRAME.set_axis(pd.Index(["a"] * 5, dtype=object), axis=1)), "columns do not fit"),
        (pickle.dumps(FRAME)[:-40], "truncated|invalid|Ran out|unexpected"),
        (b"prompt,label\na,1\n", "."),
        (b"", "Ran out of input"),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused_in_a_line(data, said):
    with pytest.raises(ErpError, match=said):
        opened(data)


@pytest.mark.parametrize("seed", range(100))
def test_flipped_bytes_give_a_frame_or_a_line(seed):
    rng = np.random.default_rng(seed)
    data = bytearray(pickle.dumps(FRAME, protocol=4))
    for at in rng.integers(0, len(data), 3):
        data[at] = rng.integers(256)
    with contextlib.suppress(ErpError):
        assert isinstance(opened(bytes(data)), pd.DataFrame)
