"""Prompts of an exact number of tokens. They are sent as token ids, so every server computes the same."""
import json
import random

WORDS = """the of a to in is that it was for on are with as his they be at one have this from or had by hot word but what some
we can out other were all there when up use your how said an each she which do their time if will way about many then them
write would like so these her long make thing see him two has look more day could go come did number sound no most people my
over know water than call first who may down side been now find head stand own page should country found answer school grow
study still learn plant cover food sun four between state keep eye never last let thought city tree cross farm hard start
might story saw far sea draw left late run while press close night real life few north open seem together next white
children begin got walk example ease paper group always music those both mark often letter until mile river car feet care
second book carry took science eat room friend began idea fish mountain stop once base hear horse cut sure watch color face
wood main enough plain girl usual young ready above ever red list though feel talk bird soon body dog family direct pose
leave song measure door product black short numeral class wind question happen complete ship area half rock order fire south
problem piece told knew pass since top whole king space heard best hour better true during hundred five remember step early
hold west ground interest reach fast verb sing listen six table travel less morning ten simple several vowel toward war lay
against pattern slow center love person money serve appear road map rain rule govern pull cold notice voice unit power town
fine certain fly fall lead cry dark machine note wait plan figure star box noun field rest correct able pound done beauty
drive stood contain front teach week final gave green quick develop ocean warm free minute strong special mind behind clear
tail produce fact street inch multiply nothing course stay wheel full force blue object decide surface deep moon island foot
system busy test record boat common gold possible plane stead dry wonder laugh thousand ago ran check game shape equate heat
miss brought snow tire bring yes distant fill east paint language among""".split()


class Prompts:
    """Takes its token ids from `cluster`'s /tokenize. The prompts of two different seeds differ from their first tokens on, so
    no prefix cache knows the one from the other."""

    def __init__(self, cluster):
        self._cluster = cluster

    def _tokenize(self, text):
        status, _, answer = self._cluster.request("POST", "/tokenize", {"prompt": text})
        assert status == 200, answer
        return json.loads(answer)["tokens"]

    def tokens(self, count, seed):
        draw = random.Random(f"{seed}")
        words = [draw.choice(WORDS) for _ in range(count + 8)]
        text = f"{draw.randrange(10**12):012d} " + " ".join(words)
        ids = self._tokenize(text)
        assert len(ids) >= count, "a word is at least a token"
        return ids[:count]
