"""What the demo's kitchen questions are about: where food keeps, how long, what to do first.

All text is our own. How many days food keeps are round figures for a demo, no advice.
"""

# name,place,days: places as in kitchen.PLACES
STORAGE_ZH = """
西红柿,凉,5 土豆,凉,14 茄子,冷,4 青椒,冷,7 黄瓜,冷,5 胡萝卜,冷,10 白菜,凉,9 菠菜,冷,3
西兰花,冷,4 香菇,干,90 木耳,干,180 莲藕,冷,6 冬瓜,凉,12 南瓜,凉,30 玉米,冷,2 豆角,冷,4
芹菜,冷,6 韭菜,冷,2 洋葱,凉,20 白萝卜,凉,8 山药,凉,15 豆腐,冷,2 金针菇,冷,3 花菜,冷,5
生菜,冷,3 油菜,冷,3 丝瓜,凉,3 苦瓜,冷,4 海带,干,120 杏鲍菇,冷,6 鸡蛋,冷,30 牛肉,冻,60
猪肉,冻,60 五花肉,冻,45 排骨,冻,50 鸡翅,冻,40 鸡腿,冻,40 鸡胸肉,冻,35 虾仁,冻,70 鲈鱼,冻,25
带鱼,冻,30 羊肉,冻,55 鸭肉,冻,45 肉末,冻,20 火腿,冷,7 腊肉,干,80 鱿鱼,冻,28 蛤蜊,冷,1
苹果,凉,14 香蕉,凉,4 草莓,冷,2 芒果,凉,5 橙子,凉,12 蓝莓,冷,6 红枣,干,150 梨,凉,10
大米,干,100 小米,干,95 面条,干,60 面粉,干,75 糯米,干,85 粉丝,干,160
"""
# large,small,how many
MEASURES_ZH = "大勺,毫升,15 小勺,毫升,5 杯,毫升,240 斤,克,500 两,克,50 打,个,12"

# name|place|days|what to do first
STORAGE_EN = """
tomatoes|shelf|5|Rinse and cut into wedges
potatoes|cellar|21|Peel and cut into cubes
onions|cellar|30|Peel and slice into rings
garlic|cellar|60|Peel and crush the cloves
carrots|fridge|14|Peel and cut into sticks
celery|fridge|10|Rinse and slice
spinach|fridge|3|Rinse and drain
lettuce|fridge|4|Tear the leaves apart
cabbage|fridge|12|Cut out the core and shred
broccoli|fridge|5|Break into small florets
cauliflower|fridge|6|Break into florets
zucchini|fridge|5|Cut into half moons
eggplant|shelf|4|Slice and salt lightly
cucumbers|fridge|6|Peel and slice
bell peppers|fridge|8|Remove the seeds and dice
mushrooms|fridge|4|Wipe clean and slice
green beans|fridge|5|Cut off the ends
peas|freezer|180|Rinse with cold water
corn|freezer|150|Cut off the kernels
pumpkin|cellar|40|Scoop out the seeds
sweet potatoes|cellar|25|Scrub and bake whole
ginger|fridge|20|Scrape off the skin
leeks|fridge|9|Wash between the leaves
radishes|fridge|7|Trim and halve
apples|cellar|28|Core and cut into slices
bananas|shelf|4|Peel and mash
strawberries|fridge|2|Rinse and cut in half
blueberries|fridge|7|Rinse and pick out stems
lemons|fridge|18|Roll and squeeze
oranges|shelf|10|Peel and divide
mangoes|shelf|3|Cut along the stone
grapes|fridge|6|Pull off the stems
beef|freezer|120|Cut across the grain
pork|freezer|100|Cut into strips
chicken|freezer|90|Pat dry and season
salmon|freezer|60|Pull out the bones
shrimp|freezer|75|Peel and devein
eggs|fridge|24|Beat with a fork
tofu|fridge|3|Press and cut into cubes
rice|jar|300|Rinse until clear
pasta|jar|365|Boil in salted water
flour|jar|180|Sift into a bowl
lentils|jar|330|Sort and rinse
oats|jar|200|Soak in milk
"""
MEASURES_EN = """
teaspoons,tablespoon,3 tablespoons,cup,16 ounces,pound,16 cups,quart,4 grams,kilogram,1000
milliliters,liter,1000 eggs,dozen,12
"""
