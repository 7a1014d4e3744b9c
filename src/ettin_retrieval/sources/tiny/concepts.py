"""What the generated collection talks about: concepts, each with several wordings.

One line a concept, its wordings separated by `|`. The wordings of a concept share no word, so
that whoever matches words alone cannot tell that they mean the same.
"""

from __future__ import annotations

Concept = tuple[str, ...]
"""The wordings of one concept; the first one names it."""


def concepts(table: str) -> tuple[Concept, ...]:
    """Read a table of concepts.

    >>> concepts("sofas | couches | settees")
    (('sofas', 'couches', 'settees'),)
    """
    lines = table.strip().splitlines()
    return tuple(tuple(form.strip() for form in line.split("|")) for line in lines)


def words(table: str) -> tuple[str, ...]:
    """Read a table of single words."""
    return tuple(table.split())


FIRST_NAMES = words("""
North South East West Upper Lower Old New Great Little Long Royal Saint Fort Port Mount Lake
Castle Abbey Market Stoney White Black Red Green Silver Golden Dry High Middle Cold Bishop King
Queen Prince Bright Hidden Twin Broad Grand
""")

SECOND_NAMES = words("""
Ashford Aldbury Barton Bexley Bradwell Brampton Burwick Carlow Clifton Corby Crosby Dalton
Denholm Dunmore Easton Elmswell Fairholt Farley Gresham Halton Harwick Hatfield Henley Holbrook
Ingleby Kelham Kendal Kirkby Langley Linton Ludlow Marlow Melton Milford Morley Newick Norbury
Oakham Orford Oxley Penrith Preston Quorley Radley Ripley Rugby Selby Shelby Stafford Stanton
Sutton Thornby Tilbury Upton Walden Warwick Weston Whitby Wilton Yarrow
""")

PLACES = tuple(f"{first} {second}" for first in FIRST_NAMES for second in SECOND_NAMES)
"""Where: shared by both domains. Places are many, so a random passage is hardly ever on the same
one, and they have but one name."""

FINDINGS = concepts("""
rose | increased | climbed
fell | decreased | shrank
stayed flat | did not change | held constant
went unreported | escaped notice | lacked coverage
split experts | caused disagreement | provoked arguments
varied by season | fluctuated monthly | swung over the year
differed by income | depended on wealth | followed social class
surprised everyone | came unexpectedly | defied predictions
""")
"""What is said about it: shared by both domains, and few, so that random passages that differ
in nothing else are rare."""

GENERAL_ASPECTS = concepts("""
cost of | expense of | financial burden from
risk of | danger of | hazard from
impact of | effect of | influence from
history of | background of | origins behind
frequency of | prevalence of | commonness of
rules on | regulations for | guidelines about
misconceptions about | false beliefs on | wrong ideas regarding
research on | scientific studies of | investigation into
training about | education on | instruction for
awareness of | knowledge of | familiarity with
attitudes to | opinions on | public feeling towards
complaints about | grievances over | dissatisfaction with
support for | assistance with | help against
campaigns on | publicity around | promotion concerning
duration of | length of | time span of
delays with | waiting for | hold-ups over
warning signs of | early indications of | alarm signals for
tests for | examination of | checks on
lawsuits over | litigation on | court cases about
funding for | subsidies on | grants towards
myths about | legends of | folklore around
surveys on | polls about | questionnaires concerning
statistics on | figures for | numbers about
bans on | prohibition of | outlawing of
worry about | anxiety over | fear of
professionals for | specialists in | authorities regarding
""")
"""What is asked about it: shared by both domains."""

WEB_ASPECTS = concepts("""
discounts on | markdowns for | bargain offers of
reviews of | ratings for | customer verdicts about
delivery of | shipping for | dispatch of
warranty on | guarantee for | replacement promise with
colours of | shades for | hues in
maintenance of | upkeep for | servicing of
rental of | hire of | short-term leasing for
brands of | makes of | labels on
""")
"""What is asked about everyday things alone."""

SCIENTIFIC_ASPECTS = concepts("""
mortality from | death rate of | lethality of
heredity of | genetics behind | familial transmission of
biomarkers of | laboratory markers for | serum assays in
relapse of | recurrence of | reappearance of
diagnosis of | detection of | identification of
molecular mechanism of | cellular pathways in | pathogenesis of
drug therapy for | pharmacological treatment of | medication against
comorbidity with | concurrent disorders in | accompanying illness in
""")
"""What is asked about health conditions alone."""

WEB_SUBJECTS = concepts("""
cars | automobiles | motor vehicles
bicycles | bikes | pushbikes
refrigerators | fridges | iceboxes
sofas | couches | settees
cellphones | mobile telephones | handsets
lawyers | attorneys | solicitors
loans | bank credit | borrowed money
houses | homes | dwellings
apartments | flats | condos
movies | films | motion pictures
vacations | holidays | getaways
airplanes | aircraft | passenger jets
garbage bins | trash cans | rubbish containers
grocery stores | food shops | supermarkets
restaurants | diners | eateries
lawns | turf | garden grass
stoves | cookers | kitchen ranges
candy | sweets | confectionery
soda | soft drinks | fizzy beverages
gasoline | petrol | motoring fuel
trucks | lorries | heavy haulers
luggage | baggage | suitcases
pants | trousers | slacks
sneakers | trainers | running shoes
sweaters | jumpers | pullovers
eyeglasses | spectacles | reading lenses
televisions | tv sets | flat screens
laptops | notebook computers | portable pcs
dogs | canines | hounds
cats | felines | kitties
weddings | marriage ceremonies | nuptials
funerals | burials | memorial services
insurance | coverage policies | indemnity contracts
carpets | rugs | floor mats
curtains | drapes | window blinds
faucets | taps | spigots
lamps | lights | lanterns
trains | railways | rail journeys
buses | coaches | omnibuses
ships | vessels | ocean liners
highways | motorways | freeways
corn | maize | cob kernels
eggplants | aubergines | purple brinjals
zucchini | courgettes | green marrows
cilantro | coriander leaves | chinese parsley
shrimp | prawns | small crustaceans
cookies | biscuits | baked snacks
fries | chips | potato sticks
paintings | artworks | framed canvases
poems | verses | rhymes
newspapers | gazettes | daily press
tutors | private teachers | coaching instructors
gifts | presents | wrapped surprises
mail | post | letters
passwords | login codes | passphrases
elevators | lifts | hoists
diapers | nappies | disposable briefs
pharmacies | drugstores | dispensing chemists
blankets | quilts | duvets
strollers | prams | pushchairs
flashlights | torches | hand beacons
soccer matches | football games | league fixtures
wallets | billfolds | purses
attics | lofts | roof spaces
""")
"""Everyday things and services, the web domain."""

SCIENTIFIC_SUBJECTS = concepts("""
heart attack | myocardial infarction | coronary occlusion
stroke | cerebrovascular accident | brain ischemia
high blood pressure | hypertension | elevated arterial tension
cancer | malignancy | neoplasia
kidney failure | renal insufficiency | nephropathy
liver inflammation | hepatitis | hepatic injury
high blood sugar | hyperglycemia | diabetes mellitus
flu | influenza | grippe
chickenpox | varicella | primary zoster infection
whooping cough | pertussis | bordetella disease
lockjaw | tetanus | clostridial spasm
rabies | hydrophobia | lyssavirus encephalitis
measles | rubeola | morbillivirus exanthem
mumps | epidemic parotitis | salivary gland swelling
nearsightedness | myopia | refractive axial error
hives | urticaria | nettle rash
eczema | atopic dermatitis | skin barrier defect
baldness | alopecia | hair loss
overweight | obesity | excess adiposity
anemia | iron deficiency | low hemoglobin
asthma | bronchospasm | airway hyperresponsiveness
lung infection | pneumonia | alveolar consolidation
migraine | hemicrania | severe headache
seizures | epilepsy | recurrent convulsions
memory loss | dementia | cognitive impairment
low mood | depression | melancholia
sleeplessness | insomnia | nocturnal wakefulness
joint inflammation | arthritis | synovitis
gout | uric acid crystals | podagra
thin bones | osteoporosis | skeletal fragility
broken bones | fractures | cortical breaks
blood clots | thrombosis | vascular obstruction
bleeding | hemorrhage | exsanguination
fluid swelling | edema | interstitial retention
itching | pruritus | scratch sensation
fever | pyrexia | raised temperature
vomiting | emesis | stomach expulsion
tooth decay | dental caries | enamel demineralization
gum disease | periodontitis | gingival destruction
pinkeye | conjunctivitis | ocular surface redness
nosebleed | epistaxis | nasal discharge
heartburn | acid reflux | esophageal irritation
tiredness | fatigue | chronic exhaustion
dizziness | vertigo | balance disturbance
deafness | hearing impairment | auditory deficit
ringing ears | tinnitus | phantom sound
stiff neck | torticollis | cervical rigidity
pink spots | roseola | exanthema subitum
lazy eye | amblyopia | suppressed vision
clouded lens | cataract | crystallin opacity
short stature | dwarfism | growth retardation
swallowing trouble | dysphagia | deglutition disorder
shaking palsy | parkinsonism | dopaminergic degeneration
sunburn | solar erythema | ultraviolet damage
ringworm | tinea | dermatophyte colonization
lice | pediculosis | scalp infestation
mad cow illness | spongiform encephalopathy | prion accumulation
yellow skin | jaundice | bilirubin excess
fainting | syncope | transient unconsciousness
miscarriage | spontaneous abortion | pregnancy termination
hernia | intestinal protrusion | abdominal wall rupture
bedwetting | enuresis | nighttime incontinence
food poisoning | salmonellosis | enteric intoxication
kidney stones | nephrolithiasis | urinary calculi
""")
"""Health conditions, the scientific domain."""
